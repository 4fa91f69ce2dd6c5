"""Measurements, each a command of its own; see ``python -m benchmarks --help``. A benchmark is no test."""
