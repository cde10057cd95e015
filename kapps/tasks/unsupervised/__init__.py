"""Learning without labels: recipes of feature learners, and the experiments that measure them."""
