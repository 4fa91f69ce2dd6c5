"""The ``kanban`` command; ``verbs`` has a module for each group of its verbs."""
