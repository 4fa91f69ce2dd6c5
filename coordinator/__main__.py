from kanban_shards.coordinator.cli.main import main

main(prog_name="kanban-merge")
