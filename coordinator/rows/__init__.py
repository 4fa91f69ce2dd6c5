"""The rows of the board that rules read and write, one module for each noun."""
