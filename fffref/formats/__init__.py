"""Files: our own, and those that other packages write."""
