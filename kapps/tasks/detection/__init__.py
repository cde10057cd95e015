"""Object detection: boxes and classes of the things in an image."""
