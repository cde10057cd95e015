"""Multi-task learning: one network, several questions about the same image."""
