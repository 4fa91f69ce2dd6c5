"""What ``kanban-merge doctor`` looks at, a module for each place; ``kanban_shards.coordinator.doctor`` has the list."""
