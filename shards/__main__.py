from kanban_shards.cli import main

main(prog_name="kanban")
