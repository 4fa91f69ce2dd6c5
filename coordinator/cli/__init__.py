"""The verbs of ``kanban-merge``, a module for each thing one does with a board; loaded when they are used."""
