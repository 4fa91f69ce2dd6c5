"""``tests.processes.as_user UID GID UMASK CODE``: Python ``CODE`` as another UNIX user, for a process that stays; what
ends is a call of ``tests.forks``.

Everything is imported before root is given up, since Python itself may lie where that user cannot read.
"""

from __future__ import annotations

import os
import sys

from tests.forks import load_everything

if __name__ == "__main__":
    user, group, umask = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3], 8)
    os.environ.pop("TMPDIR", None)
    load_everything()
    os.chdir("/")
    os.umask(umask)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    exec(sys.argv[4])
