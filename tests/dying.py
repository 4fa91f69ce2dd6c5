"""Dying at a step: what a program has in front that is killed at the n-th of its calls of the system."""

from __future__ import annotations

# Expects ``step``, the number of the call before which it dies, and offers ``die_at(name)`` for functions of ``os``.
DYING = """
done = 0
def die_at(name):
    true = getattr(os, name)
    def step_or_die(*given, **named):
        global done
        done += 1
        if done == step:
            os._exit(9)
        return true(*given, **named)
    setattr(os, name, step_or_die)
"""
