"""The board as rules see it: one transaction, entry by entry, and a module of rows for each noun."""
