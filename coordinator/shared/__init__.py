"""One ledger for several hosts: the order is agreed in a service that all of them reach."""
