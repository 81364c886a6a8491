"""The shared store between actors and learner: what it is (`api`), in Ray (`ray`), in Redis (`redis/`)."""
