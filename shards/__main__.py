from shards.cli import main

main(prog_name="kanban")
