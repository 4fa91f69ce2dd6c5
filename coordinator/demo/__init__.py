"""The demo: several profiles at work on one board, live, and everything checked at the end."""
