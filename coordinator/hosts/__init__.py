"""Taking part in a ledger that several hosts share, and leaving it."""
