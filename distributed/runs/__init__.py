"""What a run leaves in its directory, whose directory that is, and how it is shown."""
