"""What the architectures are put to: one application a file or folder."""
