"""The bridge: what makes an unmodified Hermes write shards and read our board, from within its own processes."""
