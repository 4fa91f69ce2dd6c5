"""Scenes: what Hermes's own functions do, played in a process of Hermes, released and bridged alike.

A scene is a function of a module here, given Hermes's ``kanban_db`` and a home of its own. What it asserts holds on
both sides, unless its module is of one of them.
"""
