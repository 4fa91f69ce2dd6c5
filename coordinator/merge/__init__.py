"""One pass: collect what is new, order it, append it to the ledger, decide it, show it, ring who waits."""
