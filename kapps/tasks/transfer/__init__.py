"""Transfer learning: what a network learned from a million photos, put to the classes of the user's own few."""
