"""A lost or damaged file is made again from the others, and the board is held against its ledger."""
