"""Recorded experiments: which runs there are, how many are done at once, and the report made of them."""
