from kanban_shards.cli.main import main

main(prog_name="kanban")
