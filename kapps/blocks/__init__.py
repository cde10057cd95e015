"""Functions from tensor to tensor that three or more architectures use."""
