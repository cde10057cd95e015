"""Keras layers of the canon that Keras itself does not have, one a file."""
