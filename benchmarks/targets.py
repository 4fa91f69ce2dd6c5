"""What the project asks of itself at TARGET_PROFILES profiles on two cores, beside what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.figures import FIGURES, Spread
from benchmarks.side_by_side import Measured, latency_ms, operations_per_s, slowest_of_mean

TARGET_PROFILES = 8
TIMES_HERMES = 5.0
TIMES_HERMES_AT_ITS_BEST = 1.0
TIMES_LESS_P99 = 10.0
SLOWEST_OF_MEAN = 0.5
CLAIM_P50_MS, CLAIM_P99_MS = 10.0, 60.0
# Of a bridged Hermes, in what the released one takes: one process that waits for each answer, and several under load.
BRIDGED_TIMES_P50 = {"hermes, bridged": 1.5, "hermes, bridged, no daemon": 3.0}
BRIDGED_UNDER_LOAD = 4
_OF_HERMES = ("hermes", "hermes unchecked", "hermes unchecked, kept open")
_SHARED_FILES = (*_OF_HERMES, "one file, flock")


def say_targets(found: Sequence[Measured]) -> None:
    """The targets of the work "board", where it was measured with TARGET_PROFILES profiles."""
    by_name = {one.peer: one for one in found if one.profiles == TARGET_PROFILES}
    ours = by_name.get("shards")
    if ours is None:
        return
    _say_rates(ours, by_name)
    shared = [by_name[name] for name in _SHARED_FILES if name in by_name]
    if shared:
        times = min(Spread.of_ratios(_p99_ms(one), _p99_ms(ours)).median for one in shared)
        FIGURES.asked("p99 of a write of the best shared file, in p99 of ours", times, least=TIMES_LESS_P99)
    FIGURES.asked("the slowest profile, of the mean", ours.spread(slowest_of_mean).median, least=SLOWEST_OF_MEAN)
    for percent, most in ((50, CLAIM_P50_MS), (99, CLAIM_P99_MS)):
        took = ours.spread(lambda one, percent=percent: latency_ms(one, percent, "claim")).median
        FIGURES.asked(f"claim to verdict, p{percent} in ms", took, most=most)


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
        ratios = Spread.of_ratios(bridged.spread(operations_per_s), released.spread(operations_per_s))
        what = f"operations/s of {BRIDGED_UNDER_LOAD} profiles, bridged, in those of hermes as released"
        FIGURES.asked(what, ratios.median, least=1.0)


def say_faults(found: Sequence[Measured]) -> None:
    """What must not happen, of this project."""
    faults = sum(one.wrong.faults for one in found if one.ours)
    FIGURES.asked("lost, doubled, corrupt and failed of this project", faults, most=0)


def _say_rates(ours: Measured, by_name: dict[str, Measured]) -> None:
    ratios = {
        name: Spread.of_ratios(ours.spread(operations_per_s), by_name[name].spread(operations_per_s)).median
        for name in _OF_HERMES
        if name in by_name
    }
    if "hermes" in ratios:
        FIGURES.asked("operations/s, in those of hermes as released", ratios["hermes"], least=TIMES_HERMES)
    if ratios:
        best = min(ratios.values())
        FIGURES.asked("operations/s, in those of hermes at its best", best, least=TIMES_HERMES_AT_ITS_BEST)


def _p50_ms(one: Measured) -> Spread:
    return one.spread(lambda round_: latency_ms(round_, 50))


def _p99_ms(one: Measured) -> Spread:
    found = one.spread(lambda round_: latency_ms(round_, 99))
    return Spread(tuple(0.0 if math.isnan(value) else value for value in found.values))
