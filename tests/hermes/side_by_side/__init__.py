"""The same calls on two boards: one that the released hermes-agent keeps itself, and one of ours behind it."""
