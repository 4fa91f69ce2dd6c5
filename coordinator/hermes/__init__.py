"""In from Hermes, and out again: import, adopt, export, and a sound copy of a damaged board."""
