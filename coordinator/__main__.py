from kanban_shards.coordinator.cli import main

main(prog_name="kanban-merge")
