"""What ``kanban-merge doctor`` looks at, a module for each place; ``coordinator.doctor`` has the list."""
