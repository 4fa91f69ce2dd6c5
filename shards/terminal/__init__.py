"""The board in a terminal: printed once, or live and worked with by keys. It only reads."""
