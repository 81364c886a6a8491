"""What a replay exports, as it is read again: compared with the run before any of it is kept."""

import gymnasium
import numpy as np

from ..envs.errors import BadInput, require
from ..envs.spaces import layout_of, not_members
from .problem import Problem
from .sampling import PRIVILEGED
from .trajectory import Arrays

FLAGS = "terminated", "truncated"
OF_A_TRIAL = "task", "length", "version", "from_context"
"""The columns of `trials`."""
NEEDED = "observation", "action", "reward", "episode", *FLAGS
KINDS = {"i": "integers", "f": "floats", "b": "booleans"}
"""Of arrays, as numpy abbreviates them."""


def check_exported(arrays: Arrays, version: int, *, problem: Problem, tasks: int) -> None:
    """Compare what `Replay.restore` is given with what a run's replay can have exported.

    Args:
        arrays: see `Replay.export`.
        version: of the newest weights that can have played.
        problem: that was played.
        tasks: that the run trains on.

    Raises:
        BadInput: it is none of this run's; which array, and why.
    """
    privileged = {name for name in arrays if name.startswith(PRIVILEGED)}
    names = arrays.keys() == {"trials", *NEEDED, *privileged}
    require(names, "its arrays", sorted(arrays), f"trials, {', '.join(NEEDED)}; {PRIVILEGED}* are optional")
    about = arrays["trials"]
    _like("trials", about, "i", (len(OF_A_TRIAL),))
    ranges = (0, tasks - 1), (1, problem.steps), (0, version), (0, 1)
    for name, column, (least, most) in zip(OF_A_TRIAL, about.T, ranges, strict=True):
        _within(f"trials' {name}", column, least, most)
    slots = int((about[:, 1] + 1).sum())
    for name, array in arrays.items():
        if name != "trials":
            require(array.shape[:1] == (slots,), f"its {name}", array.shape, f"{slots} rows, as its trials have")
    _members("observation", arrays["observation"], problem.observation_space)
    _members("action", arrays["action"], problem.action_space)
    for name in FLAGS:
        _like(name, arrays[name], "b", ())
    for name in {"reward", PRIVILEGED + "reward"} & arrays.keys():
        _like(name, arrays[name], "f", ())
    for name in privileged:
        kind = arrays[name].dtype.kind
        require(kind in "fiub", f"its {name}", arrays[name].dtype, "numbers")
        _like(name, arrays[name], kind, arrays[name].shape[1:])
    _like("episode", arrays["episode"], "i", ())
    _within("episode", arrays["episode"], 0, problem.most_episodes - 1)


def _members(name: str, array: np.ndarray, space: gymnasium.Space) -> None:
    """Members of a space; of a box only an action is, because environments leave their own."""
    shape, dtype = layout_of(space)
    _like(name, array, dtype.kind, shape)
    if fault := not_members(space, array, boxes=name == "action"):
        raise BadInput(f"its {name} is {fault}.")


def _like(name: str, array: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    found = {"u": "i"}.get(array.dtype.kind, array.dtype.kind), array.shape[1:]
    kind = {"u": "i"}.get(kind, kind)
    require(found == (kind, shape), f"its {name}", f"{array.dtype} {array.shape[1:]}", f"{KINDS[kind]} {shape}")
    require(kind != "f" or bool(np.isfinite(array).all()), f"its {name}", "not finite", "finite numbers")


def _within(name: str, array: np.ndarray, least: int, most: int) -> None:
    if array.size and not (least <= array.min() and array.max() <= most):
        raise BadInput(f"its {name} is {array.min()} to {array.max()}; expected {least} to {most}.")
