"""A label for every pixel."""
