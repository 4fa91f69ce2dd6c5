"""A coordinator that stays, for one board or for all of a home, and what starts it at boot."""
