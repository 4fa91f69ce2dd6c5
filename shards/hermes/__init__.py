"""The bridge: what makes an unmodified Hermes write shards and read our board, from within its own processes.

Hermes keeps all its SQL in one module, ``hermes_cli.kanban_db``. When that was imported, ``patch`` replaces in its own
namespace what writes; what reads stays Hermes's, because the board has Hermes's tables. docs/hermes.md says what a user
sees of it. This module imports nothing: a Python that opens no board pays nothing for it.
"""
