"""Power cuts: what a workload asks of the disk is recorded, and every image that a cut may leave is opened again."""
