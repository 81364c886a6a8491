"""The commands, one module each: `run` takes the words behind the command. Each imports what it needs, and no more."""
