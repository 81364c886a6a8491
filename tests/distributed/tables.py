"""A table of cells that take seconds."""

from innerloop.distributed.papers.tables import Cell, Table

SMALL = {"episodes": 5, "hidden": 16, "embedding": 0, "trials": 64, "checkpoint_every": 1000}
TINY = Table(
    "A tiny table.",
    "return",
    {"RL²": {"memory": "lstm"}, "RL² deepset": {"memory": "deepset"}},
    {
        "5,2": Cell({"family": "bernoulli-bandit", "arms": 2} | SMALL, 0.01, {"Random": 2.5, "RL²": 3.2}),
        "5,3": Cell({"family": "bernoulli-bandit", "arms": 3} | SMALL, 0.01, {"Random": 2.5}),
        "7,2": Cell({"family": "bernoulli-bandit", "arms": 2} | SMALL | {"episodes": 7}, 0.01, {}, after="5,2"),
    },
)
