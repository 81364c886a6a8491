"""Learning: the outer loop, the algorithms, and what they are made of. Plain Python and torch, without Ray."""
