"""The commands, one module each: `run` takes the arguments that follow its name. Each imports only what it needs."""
