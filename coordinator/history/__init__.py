"""What the board was: at any position of the ledger that is kept, and change by change for each task."""
