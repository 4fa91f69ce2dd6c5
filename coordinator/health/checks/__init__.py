"""What ``kanban-merge doctor`` looks at, a module for each place; ``kanban_shards.coordinator.health.doctor`` has the
list."""
