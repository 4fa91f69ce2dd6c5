"""What the project asks of itself at TARGET_PROFILES profiles on two cores, beside what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.figures import FIGURES, Spread
from benchmarks.side_by_side import Measured, cpu_ms, latency_ms, operations_per_s, slowest_of_mean

TARGET_PROFILES = 8
TIMES_HERMES = 2.5
TIMES_HERMES_NO_DAEMON = 1.2
TIMES_HERMES_AT_ITS_BEST = 1.1
TIMES_HERMES_IN_BATCHES = 3.5
TIMES_LESS_P99 = 8.0
OF_HERMES_CPU = 0.5
SLOWEST_OF_MEAN = 0.9
CLAIM_P50_MS, CLAIM_P99_MS = 6.0, 25.0
# Of a bridged Hermes, in what the released one takes: one process that waits for each answer, and several under load.
BRIDGED_TIMES_P50 = {"hermes, bridged": 1.5, "hermes, bridged, no daemon": 3.0}
BRIDGED_UNDER_LOAD = 4
_OF_HERMES = ("hermes", "hermes unchecked", "hermes unchecked, kept open")
_ALONE = ("shards", "shards, no daemon")


def say_targets(found: Sequence[Measured]) -> None:
    """The targets of the work "board", where it was measured with one profile, or with TARGET_PROFILES."""
    measured = {(one.peer, one.profiles): one for one in found}
    by_name = {one.peer: one for one in found if one.profiles == TARGET_PROFILES}
    ours, released = by_name.get("shards"), by_name.get("hermes")
    if ours is None:
        return
    _say_rates(ours, by_name)
    if released is not None:
        times = Spread.of_ratios(_p99_ms(released), _p99_ms(ours)).median
        FIGURES.asked("p99 of a write of hermes as released, in p99 of ours", times, least=TIMES_LESS_P99)
        times = Spread.of_ratios(ours.spread(cpu_ms), released.spread(cpu_ms)).median
        FIGURES.asked("CPU of an operation, in that of hermes as released", times, most=OF_HERMES_CPU)
    FIGURES.asked("the slowest profile, of the mean", ours.spread(slowest_of_mean).median, least=SLOWEST_OF_MEAN)
    for percent, most in ((50, CLAIM_P50_MS), (99, CLAIM_P99_MS)):
        took = ours.spread(lambda one, percent=percent: latency_ms(one, percent, "claim")).median
        FIGURES.asked(f"claim to verdict, p{percent} in ms", took, most=most)
    for name in _ALONE:
        alone, hermes = measured.get((name, 1)), measured.get(("hermes", 1))
        if alone and hermes:
            times = Spread.of_ratios(_p50_ms(alone), _p50_ms(hermes)).median
            FIGURES.asked(f"a write of {name}, one profile, p50 in those of hermes as released", times, most=1.0)


def say_batches(found: Sequence[Measured]) -> None:
    """The target of whole tasks in batches, where they were measured with TARGET_PROFILES profiles."""
    by_name = {one.peer: one for one in found if one.profiles == TARGET_PROFILES}
    if "shards" in by_name and "hermes" in by_name:
        times = _times_as_many(by_name["shards"], by_name["hermes"])
        FIGURES.asked("tasks a second, in those of hermes as released", times, least=TIMES_HERMES_IN_BATCHES)


def say_bridged(found: Sequence[Measured]) -> None:
    """The targets of a bridged Hermes, where the work "board" was measured on it and on the released one."""
    measured = {(one.peer, one.profiles): one for one in found}
    for name, most in BRIDGED_TIMES_P50.items():
        released, bridged = measured.get(("hermes", 1)), measured.get((name, 1))
        if released and bridged:
            times = Spread.of_ratios(_p50_ms(bridged), _p50_ms(released)).median
            FIGURES.asked(f"a write of {name}, p50 in those of hermes as released", times, most=most)
    released = measured.get(("hermes", BRIDGED_UNDER_LOAD))
    bridged = measured.get(("hermes, bridged", BRIDGED_UNDER_LOAD))
    if released and bridged:
        what = f"operations/s of {BRIDGED_UNDER_LOAD} profiles, bridged, in those of hermes as released"
        FIGURES.asked(what, _times_as_many(bridged, released), least=1.0)


def say_faults(found: Sequence[Measured]) -> None:
    """What must not happen, of this project."""
    faults = sum(one.wrong.faults for one in found if one.ours)
    FIGURES.asked("lost, doubled, corrupt and failed of this project", faults, most=0)


def _say_rates(ours: Measured, by_name: dict[str, Measured]) -> None:
    ratios = {name: _times_as_many(ours, by_name[name]) for name in _OF_HERMES if name in by_name}
    if "hermes" in ratios:
        FIGURES.asked("operations/s, in those of hermes as released", ratios["hermes"], least=TIMES_HERMES)
        if alone := by_name.get("shards, no daemon"):
            times = _times_as_many(alone, by_name["hermes"])
            what = "operations/s without a daemon, in those of hermes as released"
            FIGURES.asked(what, times, least=TIMES_HERMES_NO_DAEMON)
    if ratios:
        best = min(ratios.values())
        FIGURES.asked("operations/s, in those of hermes at its best", best, least=TIMES_HERMES_AT_ITS_BEST)


def _times_as_many(one: Measured, other: Measured) -> float:
    return Spread.of_ratios(one.spread(operations_per_s), other.spread(operations_per_s)).median


def _p50_ms(one: Measured) -> Spread:
    return one.spread(lambda round_: latency_ms(round_, 50))


def _p99_ms(one: Measured) -> Spread:
    found = one.spread(lambda round_: latency_ms(round_, 99))
    return Spread(tuple(0.0 if math.isnan(value) else value for value in found.values))
