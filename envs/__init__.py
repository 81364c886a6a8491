"""Tasks: families of MDPs, and trials of them played as one batch. Plain Python and numpy, without torch or Ray."""
