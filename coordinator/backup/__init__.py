"""Proved copies of a board's files, putting them back, and dropping what was merged long ago."""
