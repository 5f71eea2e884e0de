"""One module a command: `add` puts it and its options on the parser, `run` does it."""
