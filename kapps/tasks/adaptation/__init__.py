"""Domain adaptation: labels in one domain, none in the one that counts."""
