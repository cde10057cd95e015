"""What other publishers call the weights of our layers: one module a family, named as its architecture's module."""
