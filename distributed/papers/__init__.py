"""What papers have published, and ours beside it."""
