"""How a board is, and what is wrong with it: read in one way, judged in one place."""
