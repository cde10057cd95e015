"""What learns without labels: autoencoders, sparse coding, Boltzmann machines, deep belief nets."""
