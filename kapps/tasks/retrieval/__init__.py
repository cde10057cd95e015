"""Finding what is similar: codes of few bits, search in them and in plain numbers, and what a search finds."""
