"""``as_user.py UID GID UMASK CODE``: Python ``CODE`` as another UNIX user, who is in the group ``GID`` and no other.

Everything is imported before root is given up, since Python itself may lie where that user cannot read.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module

import kanban_shards.coordinator
import kanban_shards.migrations


def load_everything() -> None:
    """Import all that the packages may ask for later."""
    for package in (kanban_shards, kanban_shards.coordinator, kanban_shards.migrations):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    for name in ("tenacity", "sqlite_utils", "rich.progress", "rich.live", "rich.table"):
        import_module(name)


if __name__ == "__main__":
    user, group, umask = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3], 8)
    load_everything()
    os.umask(umask)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    exec(sys.argv[4])
