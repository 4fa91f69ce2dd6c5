"""The simulator: the real code in one process, under a clock and a chance that a seed decides."""
