"""Ids of tasks for tests that write changes past the gateway."""

from __future__ import annotations

import os


def new_task_id() -> str:
    """An id as it was drawn before ids belonged to a profile: any profile's create with it is still taken."""
    return f"t_{os.urandom(8).hex()}"
