"""A table of cells that take seconds."""

from innerloop.distributed.papers.table import Cell, Examination, Table

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

FEW = Table(
    "A tiny table of few-shot classification.",
    "accuracy",
    {
        "ProtoNet": {"algorithm": "protonet", "encoder": "cnn,width=8,channels=2", "ways": 4},
        "MAML": {"algorithm": "supervised-maml", "encoder": "cnn,width=8,channels=2", "layers": 0},
    },
    {
        "3-way": Cell(
            {"family": "strokes", "ways": 3, "shots": 1, "episodes": 3, "trials": 8, "checkpoint_every": 1000},
            0.01,
            {"Nearest neighbour": 60.0},
            examination=Examination({"ways": 3}, 5, slice(1, None), {}),
        ),
        "6-way": Cell(
            {"family": "strokes", "ways": 3, "shots": 1, "episodes": 3},
            0.01,
            {},
            agents="3-way",
            examination=Examination({"ways": 6, "shots": 2}, 5, slice(2, None)),
            columns=("ProtoNet",),
        ),
    },
)
