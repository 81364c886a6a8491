"""Tables of supervised meta-learning: few-shot classification, and regression.

Published figures are with the published amount of training, and, of MAML on Omniglot, with batch statistics of the
queries (transductive); ours see one query at a time.
"""

from typing import Any

from .table import Cell, Examination, Table

QUERIES = 15
"""Of each class, in an evaluation."""


def _of_classes(ways: int, shots: int) -> Examination:
    """N-way, K-shot, as it is usually measured."""
    return Examination({"ways": ways, "shots": shots}, shots + QUERIES, slice(shots, None))


def _instance(k: int) -> Examination:
    """The k-th instance of a class, where all answers are told (Santoro et al. 2016, figure 2 and table 1)."""
    return Examination({"ways": 5, "shots": 0}, 10, slice(k - 1, k))


CONV: dict[str, Any] = {"encoder": "conv4,strided=true"}
SEQUENCES: dict[str, Any] = {
    "algorithm": "supervised", **CONV, "trials": 32, "learning_rate": 1e-3, "hidden": 128, "embedding": 128,
}  # fmt: skip
COMPARING: dict[str, Any] = {**CONV, "ways": 60, "shots": 1, "episodes": 6, "trials": 2, "learning_rate": 1e-3}
ADAPTING: dict[str, Any] = {
    "algorithm": "supervised-maml", **CONV, "layers": 0, "episodes": 4, "trials": 32, "inner_rate": 0.4,
    "evaluation_steps": 3, "loss_from": 1,
}  # fmt: skip
STREAMS = ("SNAIL", "LSTM", "MANN")
"""Columns of black boxes that are taught at every instance."""


def _omniglot(ways: int, shots: int) -> dict[str, Any]:
    return {"family": "omniglot", "ways": ways, "shots": shots, "evaluate_every": 100}


OMNIGLOT = Table(
    "Omniglot, % of the answers to queries that are right: the first 1,200 characters by name train, the others test "
    "(Vinyals et al. 2016), each turned by quarters as classes of their own; 15 queries a class. Instances: 5 classes, "
    "all answers told (Santoro et al. 2016).",
    "accuracy",
    {
        "Matching": {"algorithm": "matching", **COMPARING},
        "ProtoNet": {"algorithm": "protonet", **COMPARING},
        "MAML": ADAPTING,
        "SNAIL": SEQUENCES | {"memory": "snail"},
        "LSTM": SEQUENCES | {"memory": "lstm"},
        "MANN": SEQUENCES | {"memory": "mann"},
    },
    {
        "5-way 1-shot": Cell(
            _omniglot(5, 1), 30,
            {"Nearest neighbour": 41.7, "Matching": 98.1, "ProtoNet": 98.8, "MAML": 98.7},
            examination=_of_classes(5, 1), columns=("Matching", "ProtoNet", "MAML"),
        ),
        "20-way 1-shot": Cell(
            _omniglot(5, 1), 30, {"Nearest neighbour": 26.7, "Matching": 93.8, "ProtoNet": 96.0},
            agents="5-way 1-shot", examination=_of_classes(20, 1), columns=("Matching", "ProtoNet"),
        ),
        "5-way 5-shot": Cell(
            _omniglot(5, 1), 30, {"Nearest neighbour": 63.2, "Matching": 98.9, "ProtoNet": 99.7, "MAML": 99.9},
            agents="5-way 1-shot", examination=_of_classes(5, 5), columns=("Matching", "ProtoNet", "MAML"),
        ),
        "2nd instance": Cell(
            _omniglot(5, 0) | {"episodes": 10}, 30, {"MANN": 82.8, "LSTM": 49.5},
            examination=_instance(2), columns=STREAMS,
        ),
        "5th instance": Cell(
            _omniglot(5, 0) | {"episodes": 10}, 30, {"MANN": 94.9, "LSTM": 63.6},
            agents="2nd instance", examination=_instance(5), columns=STREAMS,
        ),
        "10th instance": Cell(
            _omniglot(5, 0) | {"episodes": 10}, 30, {"MANN": 98.1, "LSTM": 62.5},
            agents="2nd instance", examination=_instance(10), columns=STREAMS,
        ),
    },
)  # fmt: skip


def _curves(shots: int, steps: int, published: dict[str, float], agents: str = "") -> Cell:
    """MAML on curves, by the number of points and of inner steps."""
    return Cell(
        {"family": "sinusoid", "shots": 10, "episodes": 20, "evaluate_every": 500}, 5, published, agents=agents,
        examination=Examination({"shots": shots}, shots + 10, slice(shots, None), {"evaluation_steps": steps}),
        columns=("MAML",),
    )  # fmt: skip


MAML_ON_CURVES = {
    "algorithm": "supervised-maml", "trials": 50, "inner_rate": 0.01, "loss_from": 10, "learning_rate": 2e-3,
}  # fmt: skip
FIRST = "5 shots, 1 step"

SINUSOID = Table(
    "Curves of unknown amplitude and phase, the mean squared error of answers after some points (Finn et al. 2017, "
    "section 5.1). MAML learns from 10 points and one step, as was published; black boxes are taught at every point.",
    "error",
    {
        "MAML": MAML_ON_CURVES,
        "LSTM": {"algorithm": "supervised", "memory": "lstm", "embedding": 64, "trials": 64},
        "transformer": {"algorithm": "supervised", "memory": "transformer", "embedding": 0, "hidden": 64, "trials": 64},
    },
    {
        FIRST: _curves(5, 1, {"MAML": 0.67}),
        "5 shots, 5 steps": _curves(5, 5, {"MAML": 0.38}, FIRST),
        "5 shots, 10 steps": _curves(5, 10, {"MAML": 0.35}, FIRST),
        "10 shots, 1 step": _curves(10, 1, {}, FIRST),
        "10 shots": Cell(
            {"family": "sinusoid", "shots": 0, "episodes": 11, "evaluate_every": 500}, 5, {},
            examination=Examination({"shots": 10}, 20, slice(10, None)), columns=("LSTM", "transformer"),
        ),
    },
)  # fmt: skip

FEW_SHOT = {"omniglot": OMNIGLOT, "sinusoid": SINUSOID}
