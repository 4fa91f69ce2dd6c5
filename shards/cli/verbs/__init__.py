"""The verbs of the ``kanban`` command, one module for each noun; loaded when they are used."""
