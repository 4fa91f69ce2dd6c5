#!/bin/sh
# A worker as a dispatcher starts it: "… -p PROFILE … chat -q 'work kanban task ID'". It says in JOURNAL that it is here,
# and who else is at the same task, works for a while, and tells the real command line what it did.
profile=$2
task=$HERMES_KANBAN_TASK
beside=
for other in $(sed -n "s/^$task [0-9]* \([0-9]*\) .*/\1/p" "$JOURNAL"); do
    if kill -0 "$other" 2>/dev/null; then beside="$beside $other"; fi
done
echo "$task $HERMES_KANBAN_RUN_ID $$ $(date +%s)$beside" >>"$JOURNAL"
sleep "$WORK_S"
"$REAL_HERMES" -p "$profile" kanban comment "$task" "run $HERMES_KANBAN_RUN_ID"
exec "$REAL_HERMES" -p "$profile" kanban complete "$task" --summary "done by $profile"
