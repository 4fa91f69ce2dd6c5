"""Several hosts of one board at length, while everything around them breaks; then everything is checked."""
