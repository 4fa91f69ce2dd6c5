"""What is said to ``hermes kanban`` on both sides: each verb and each flag of it, where it works and where it cannot.

A story begins in an empty home. Each line is one call; ``a = …`` keeps the first task id that the call prints, as
``$a``; ``NAME=VALUE …`` in front is the environment of that call, as of a worker. ``~0.5 …`` presses Ctrl-C after so
many seconds. ``wait`` lets workers end, and waits for them, ``tick`` for the next second, by which lists are sorted;
``$home`` is the home's path.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# A dispatcher's worker: it fails; it ends well without a word; it tells that a provider says "later". Each waits for
# `wait`: if it ended before the dispatcher looks away, Python would collect it, and nobody know how it ended.
_UNTIL = 'for i in $(seq 600); do if [ -e "$HOME/end" ]; then break; fi; sleep 0.05; done\n'
WORKERS = {
    "fails.sh": f"#!/bin/sh\necho no display >&2\n{_UNTIL}exit 3\n",
    "mute.sh": f"#!/bin/sh\necho begun and gone\n{_UNTIL}",
    "later.sh": f"#!/bin/sh\n{_UNTIL}exit 75\n",
}
PROFILES = ("mafei", "pixiel")


@dataclass(frozen=True)
class Story:
    """Calls in one home, with files that are there before."""

    name: str
    lines: str
    files: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> list[str]:
        return [line for line in map(str.strip, self.lines.splitlines()) if line]


STORIES = (
    Story(
        "the first minute",
        """
        init
        init
        list
        ls
        stats
        stats --json
        assignees
        assignees --json
        diagnostics
        diag --json
        notify-list
        notify-list --json
        boards
        boards list
        boards ls --json
        boards show
        nonsense
        create
        """,
    ),
    Story(
        "every flag of create",
        """
        a = create "Write the PRD" --body "one\\ntwo" --assignee mafei --tenant acme --priority 3 --created-by bingge
        b = create "After it" --parent $a --skill review --skill translate --max-retries 4 --json
        c = create "Park it" --triage --json
        d = create "Ask first" --initial-status blocked --json
        create "Runs" --initial-status running --json
        create "冲刺 3 ☂" --body "§ 'quoted' \\"twice\\"" --assignee "Mafei"
        create "Same key" --idempotency-key k1
        create "Same key again" --idempotency-key k1 --json
        create "A goal" --goal --goal-max-turns 7 --max-runtime 2h --json
        create "A folder" --workspace dir:$home/work --json
        create "A worktree" --workspace worktree:$home/wt --branch wt/one --json
        create "A branch alone" --branch wt/one
        create "An odd workspace" --workspace elsewhere
        create "A spaced branch" --workspace worktree:$home/wt --branch "a b"
        create "A soft time" --max-runtime soon
        create "No retries" --max-retries 0
        create "   "
        create "A stranger's child" --parent t_00000000
        create "No such project" --project nowhere
        create "Priority" --priority high
        create "Bad start" --initial-status done
        create "No goal" --goal-max-turns 0 --goal
        create "A child of two" --parent $a --parent $b --json
        list
        list --json
        show $a
        show $b --json
        show $d
        """,
    ),
    Story(
        "lists, sorted and filtered",
        """
        a = create "alpha" --assignee mafei --priority 1 --tenant acme
        tick
        b = create "beta" --assignee pixiel --priority 5
        tick
        c = create "gamma" --triage
        tick
        d = create "delta" --assignee default --parent $a
        list --assignee mafei
        HERMES_PROFILE=pixiel list --mine
        list --mine
        list --status ready
        list --status todo --json
        list --status nowhere
        list --tenant acme --json
        list --session s1
        list --workflow-template-id w1
        list --step-key k1
        list --sort priority
        list --sort created --json
        list --sort created-desc
        list --sort status
        list --sort assignee
        list --sort title
        list --sort updated
        list --sort nonsense
        archive $c
        list --archived
        list --archived --json
        list --status archived
        stats
        stats --json
        assignees
        """,
    ),
    Story(
        "a task's life",
        """
        a = create "Write it" --assignee mafei --body "in two pages"
        claim $a --ttl 60
        claim $a
        claim t_00000000
        heartbeat $a
        heartbeat $a --note "half of it"
        heartbeat t_00000000
        comment $a the first page stands --author mafei
        comment $a a word that is longer than it may be and is cut --max-len 40
        comment $a x --max-len 0
        comment $a "   "
        comment t_00000000 nobody
        complete $a --summary "two pages" --result prd.md --metadata '{"words": 900, "pages": [1, 2]}'
        complete $a --summary again
        show $a
        show $a --json
        show $a --state-type outcome --state-name completed
        show $a --state-type status --state-name running --json
        show $a --state-type outcome
        show t_00000000
        runs $a
        runs $a --json
        runs $a --state-type status --state-name done
        runs $a --state-name done
        runs t_00000000
        edit $a --result prd-2.md --summary "three pages" --metadata '{"words": 1200}'
        edit $a --result prd-3.md
        edit $a
        edit t_00000000 --result none
        edit $a --result x --metadata '[1]'
        context $a
        context t_00000000
        log $a
        log $a --tail 100
        archive $a
        archive $a
        archive t_00000000
        complete $a
        claim $a
        show $a
        archive --rm $a
        archive --rm $a
        show $a
        archive
        archive $a --rm $a
        """,
    ),
    Story(
        "many at once",
        """
        a = create "one"
        b = create "two"
        c = create "three"
        complete $a $b t_00000000
        complete $a $c --summary same
        complete $c --metadata nonsense
        complete $c --metadata '{"artifacts": ["/nowhere/a.txt"]}' --summary "see /nowhere/b.txt and t_99999999"
        complete
        show $c --json
        d = create "four"
        e = create "five"
        block $d "which colors?" --ids $e --kind needs_input
        show $d --json
        unblock $d $e t_00000000
        unblock $d --reason "those of last year"
        schedule $d "the office is closed" --ids $e
        show $d
        unblock $d $e --reason "earlier, after all"
        block $d
        block t_00000000 why
        schedule t_00000000
        unblock $d
        archive $d $e
        list --archived
        """,
    ),
    Story(
        "blocked for a reason",
        """
        a = create "one" --assignee mafei
        claim $a
        block $a "no key" --kind capability
        show $a
        unblock $a
        block $a "no key" --kind capability
        unblock $a
        block $a "no key" --kind capability
        unblock $a
        block $a "no key" --kind capability
        show $a --json
        diagnostics
        diagnostics --json
        diagnostics --task $a --severity warning
        diagnostics --task t_00000000
        diagnostics --severity critical --json
        b = create "two"
        block $b "for a while" --kind transient
        show $b
        c = create "three"
        block $c odd --kind nonsense
        p = create "parent"
        d = create "waits" --parent $p
        block $d "for the parent" --kind dependency
        show $d --json
        """,
    ),
    Story(
        "parents and children",
        """
        a = create "parent"
        b = create "child"
        c = create "grandchild" --parent $b
        link $a $b
        link $a $b
        link $b $a
        link $c $a
        link $a $a
        link $a t_00000000
        link t_00000000 $a
        show $b
        claim $b
        promote $b
        promote $b --dry-run
        promote $b "it cannot wait" --force --json
        show $b --json
        promote $c --ids $b t_00000000 --dry-run --json
        promote $c --force --dry-run
        promote t_00000000
        unlink $a $b
        unlink $a $b
        complete $a
        complete $b
        show $c
        list
        context $c
        d = create "after what is done" --parent $a
        archive $d
        e = create "after what is archived" --parent $d
        show $e
        """,
    ),
    Story(
        "whose it is",
        """
        a = create "hers"
        assign $a mafei
        assign $a pixiel
        assign $a none
        assign t_00000000 mafei
        assign $a mafei
        claim $a
        assign $a pixiel
        reassign $a pixiel
        reassign $a pixiel --reclaim --reason "she is away"
        show $a --json
        reassign $a none
        reassign t_00000000 mafei
        claim $a
        reclaim $a --reason "it hangs"
        reclaim $a
        reclaim t_00000000
        show $a
        runs $a
        list --assignee pixiel
        """,
    ),
    Story(
        "files",
        """
        a = create "with files"
        attach $a $home/outline.md
        attach $a $home/outline.md
        attach $a $home/outline.md --name plan.txt --content-type text/x-plan --author mafei
        attach $a $home/nowhere
        attach t_00000000 $home/outline.md
        attachments $a
        attachments $a --json
        attachments t_00000000
        attach-rm 1
        attach-rm 1
        attach-rm one
        attachments $a
        context $a
        show $a
        """,
        files={"outline.md": "1. Login\n"},
    ),
    Story(
        "chats",
        """
        a = create "news"
        notify-subscribe $a --platform telegram --chat-id 42
        notify-subscribe $a --platform telegram --chat-id 42
        notify-subscribe $a --platform discord --chat-id 7 --thread-id 3 --user-id u1 --notifier-profile mafei
        notify-subscribe t_00000000 --platform telegram --chat-id 42
        notify-subscribe $a --chat-id 42
        notify-list
        notify-list $a --json
        notify-list t_00000000
        notify-unsubscribe $a --platform discord --chat-id 7 --thread-id 3
        notify-unsubscribe $a --platform discord --chat-id 7 --thread-id 3
        notify-unsubscribe $a --platform telegram --chat-id 43
        complete $a
        notify-list
        """,
    ),
    Story(
        "boards",
        """
        boards create sprint-4 --name "Sprint 4" --description "the fourth" --icon 4 --color "#112233"
        boards create sprint-4
        boards new Sprint-5 --switch --default-workdir $home/work
        boards create "no slug!"
        boards show
        boards current
        a = create "on the fifth" --workspace dir:$home/work
        list
        --board sprint-4 create "on the fourth"
        --board sprint-4 list
        --board default list
        --board nowhere list
        --board "no slug!" list
        boards rename sprint-4 "Sprint four"
        boards rename nowhere x
        boards set-default-workdir sprint-4 $home/work
        boards set-default-workdir sprint-4
        boards set-default-workdir nowhere /
        boards list
        boards list --all --json
        boards switch sprint-4
        boards use nowhere
        boards use default
        boards rm sprint-4
        boards rm sprint-4
        boards rm default
        boards remove sprint-5 --delete
        boards list --all
        boards create sprint-6
        boards delete sprint-6
        boards list
        """,
    ),
    Story(
        "a dispatcher",
        """
        a = create "to be worked on" --assignee mafei
        b = create "nobody's"
        c = create "a stranger's" --assignee stranger
        d = create "hers, too" --assignee mafei --priority 4
        dispatch --dry-run
        dispatch --dry-run --json
        HERMES_BIN=$home/fails.sh dispatch --max 1
        wait
        HERMES_KANBAN_CRASH_GRACE_SECONDS=0 HERMES_BIN=$home/fails.sh dispatch --json --failure-limit 2
        show $d
        runs $d
        wait
        HERMES_KANBAN_CRASH_GRACE_SECONDS=0 HERMES_BIN=$home/fails.sh dispatch --json --failure-limit 2
        wait
        HERMES_KANBAN_CRASH_GRACE_SECONDS=0 HERMES_BIN=$home/fails.sh dispatch --failure-limit 2
        wait
        HERMES_KANBAN_CRASH_GRACE_SECONDS=0 HERMES_BIN=$home/fails.sh dispatch --failure-limit 2
        show $a --json
        show $d --json
        log $d
        log $d --tail 4
        diagnostics
        list
        unblock $d
        """,
        files=WORKERS,
    ),
    Story(
        "workers that say nothing, or later",
        """
        a = create "mute" --assignee mafei
        HERMES_BIN=$home/mute.sh dispatch
        wait
        HERMES_KANBAN_CRASH_GRACE_SECONDS=0 HERMES_BIN=$home/mute.sh dispatch --json
        show $a --json
        archive $a
        b = create "later" --assignee pixiel
        HERMES_BIN=$home/later.sh dispatch
        wait
        HERMES_KANBAN_CRASH_GRACE_SECONDS=0 HERMES_BIN=$home/later.sh dispatch
        show $b --json
        c = create "no program" --assignee mafei
        HERMES_BIN=$home/nowhere dispatch --json
        show $c --json
        """,
        files=WORKERS,
    ),
    Story(
        "a run that was given to another",
        """
        a = create "contested" --assignee mafei
        claim $a
        reclaim $a
        claim $a
        HERMES_KANBAN_TASK=$a HERMES_KANBAN_RUN_ID=1 heartbeat $a --note late
        HERMES_KANBAN_TASK=$a HERMES_KANBAN_RUN_ID=1 complete $a --summary late
        HERMES_KANBAN_TASK=$a HERMES_KANBAN_RUN_ID=1 block $a late
        HERMES_KANBAN_TASK=$a HERMES_KANBAN_RUN_ID=1 schedule $a late
        HERMES_KANBAN_TASK=$a HERMES_KANBAN_RUN_ID=2 complete $a --summary "in time"
        show $a --json
        """,
    ),
    Story(
        "swarms",
        """
        swarm "A launch" --worker mafei:research --worker "pixiel:draw:sketch,color" --verifier bingge \
            --synthesizer mafei
        swarm "A launch" --worker mafei:research --verifier bingge --synthesizer mafei --tenant acme \
            --priority 2 --created-by bingge --idempotency-key launch --json
        swarm "A launch" --worker mafei:research --verifier bingge --synthesizer mafei --tenant acme \
            --priority 2 --created-by bingge --idempotency-key launch --json
        swarm "A launch" --worker mafei --verifier bingge --synthesizer mafei
        swarm "A launch" --verifier bingge --synthesizer mafei
        swarm "A launch" --worker mafei:research
        list
        list --json
        """,
    ),
    Story(
        "a model at hand",
        """
        a = create "login thing" --triage --tenant acme
        specify $a --author bingge
        show $a --json
        specify $a
        specify t_00000000 --json
        specify
        specify $a --all
        b = create "signup thing" --triage --tenant acme
        specify --all --tenant acme --json
        specify --all --tenant acme
        specify --all --json
        c = create "split this" --triage --tenant acme
        decompose $c --author bingge --json
        list --json
        show $c --json
        decompose $c
        decompose t_00000000 --json
        decompose
        decompose $c --all
        d = create "split that" --triage
        decompose --all --tenant acme
        decompose --all
        decompose --all --json
        e = create "A goal" --goal --assignee mafei
        complete $e --summary "I did nothing"
        complete $e --summary "done: here is the evidence"
        show $e --json
        """,
    ),
    Story(
        "no model",
        """
        a = create "login thing" --triage
        specify $a
        decompose $a --json
        show $a
        """,
    ),
    Story(
        "sweeping up",
        """
        a = create "old"
        claim $a
        complete $a
        archive $a
        tick
        tick
        gc
        gc --event-retention-days 0 --log-retention-days 0
        show $a --json
        gc --event-retention-days soon
        """,
    ),
    Story(
        "streams",
        """
        a = create "followed" --assignee mafei --tenant acme
        ~0.4 tail $a
        ~0.4 tail $a --interval 0.1
        ~0.4 watch
        ~0.4 watch --assignee mafei --tenant acme --kinds created,claimed --interval 0.1
        daemon
        ~0.8 daemon --force --interval 0.1 --max 1 --failure-limit 2 --pidfile $home/pid --verbose
        """,
    ),
    Story(
        "long words",
        """
        a = create "$long" --body "$longer"
        show $a --json
        comment $a "$longer"
        complete $a --summary "$longer" --result "$longer"
        list
        context $a
        b = create "A file of its own" --body "$mebibyte"
        show $b
        """,
    ),
)
