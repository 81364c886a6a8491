"""A trajectory as bytes: a checked header, a few numbers as JSON, all arrays as safetensors. Nothing is ever pickled.

    magic, 8 bytes | format, u32 | bytes of the JSON, u32 | bytes of the arrays, u64 | CRC-32, u32 | JSON | arrays

Little-endian; the CRC-32 is of everything but itself. What comes from outside is looked at whole before it is used.
"""

import json
import struct
import zlib
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from ....actors.assignment import Assignment
from ....learner.trajectory import Trajectory
from ..schema import Undecodable

FORMAT = 4

_MAGIC = b"innrloop"
_HEADER = struct.Struct("<8sIIQ")
_SUM = struct.Struct("<I")
_FLAGS = ("terminated", "truncated", "valid")
_ARRAYS = ("observation", "action", "reward", *_FLAGS)
_NAMED = "privileged", "note", "measures"
"""What a trajectory has under names of its own; in the arrays as `group.name`."""


def encode(assignment: Assignment, trajectory: Trajectory) -> bytes:
    """A trajectory with the assignment that it was played for."""
    arrays = {name: getattr(trajectory, name) for name in _ARRAYS}
    for group in _NAMED:
        arrays |= {f"{group}.{name}": array for name, array in getattr(trajectory, group).items()}
    # The encoder writes raw memory: an array that is not in C order would come back scrambled.
    body = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    *told, _ = assignment  # what is held out goes through no store
    numbers = {"assignment": told, "version": trajectory.version, "diverged": trajectory.diverged}
    about = json.dumps(numbers, default=int).encode()  # numpy's integers too
    header = _HEADER.pack(_MAGIC, FORMAT, len(about), len(body))
    return b"".join([header, _SUM.pack(_checksum(header, about, body)), about, body])


def decode(data: bytes) -> tuple[Assignment, Trajectory]:
    """The inverse of `encode`.

    Raises:
        Undecodable: anything else than what `encode` of this format gives.
    """
    start = _HEADER.size + _SUM.size
    _require(len(data) >= start, f"it has {len(data)} bytes; expected a header of {start}")
    magic, given, about_size, body_size = _HEADER.unpack_from(data)
    _require(magic == _MAGIC, f"it begins with {magic!r}; expected {_MAGIC!r}")
    _require(given == FORMAT, f"it is of format {given}; expected {FORMAT}")
    whole = start + about_size + body_size
    _require(len(data) == whole, f"it has {len(data)} bytes; expected {whole}")
    header, about, body = data[: _HEADER.size], data[start : start + about_size], data[start + about_size :]
    _require(_SUM.unpack_from(data, _HEADER.size)[0] == _checksum(header, about, body), "its checksum is wrong")
    try:
        numbers, arrays = json.loads(about), load(body)
    except Exception as error:  # whatever a parser makes of input that somebody else wrote
        raise Undecodable(f"it cannot be parsed ({type(error).__name__}).") from error
    assignment, version, diverged = _numbers(numbers)
    try:
        _check_arrays(arrays, assignment)
    except Undecodable as error:
        error.assignment = assignment
        raise
    named: dict[str, dict[str, np.ndarray]] = {group: {} for group in _NAMED}
    for name in [*arrays]:
        group, dot, own = name.partition(".")
        if dot:
            named[group][own] = arrays.pop(name)
    return assignment, Trajectory(**arrays, **named, version=version, diverged=diverged)  # pyright: ignore


def _checksum(header: bytes, about: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(about, zlib.crc32(header)))


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise Undecodable(f"{fault}.")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _numbers(numbers: Any) -> tuple[Assignment, int, int]:
    """What the JSON part says: assignment, version, diverged."""
    names = {"assignment", "version", "diverged"}
    _require(isinstance(numbers, dict) and set(numbers) == names, "its numbers are not those of a trajectory")
    given = numbers["assignment"]
    _require(isinstance(given, list) and len(given) == len(Assignment._fields) - 1, "its assignment is none")
    iteration, part, trials, tasks, episodes, flags = given
    listed = isinstance(tasks, list) and isinstance(flags, list)
    _require(
        listed and all(map(_is_count, [iteration, part, trials, *tasks, episodes, *flags])), "its assignment is none"
    )
    assignment = Assignment(iteration, part, trials, tuple(tasks), episodes, tuple(flags))
    for what, each in (("task", tasks), ("from_context", flags)):
        _require(len(each) in (0, trials), f"its assignment has not one {what} per trial")
    _require(_is_count(numbers["version"]) and _is_count(numbers["diverged"]), "its version or diverged is no count")
    return assignment, numbers["version"], numbers["diverged"]


def _check_arrays(arrays: dict[str, np.ndarray], assignment: Assignment) -> None:
    """That they are those of a trajectory: one T and one B, flags bool, the reward float32."""
    plain = {name for name in arrays if name.partition(".")[0] not in _NAMED}
    _require(plain == set(_ARRAYS), f"its arrays are {sorted(plain)}; expected {sorted(_ARRAYS)}")
    shape = arrays["reward"].shape
    _require(len(shape) == 2 and min(shape) >= 1, f"its reward has shape {shape}; expected [T, B], 1 or more each")
    steps, columns = shape
    for name, array in arrays.items():
        group = name.partition(".")[0]
        if group == "measures":
            shaped = array.dtype == np.float32 and array.ndim == 2 and len(array) == columns
            _require(shaped, f"its {name} is {array.dtype} {array.shape}; expected float32 with {columns} rows")
            continue
        expected = (steps + (group in ("observation", "note")), columns)
        _require(array.shape[:2] == expected, f"its {name} has shape {array.shape}; expected {expected} to begin with")
    for name in plain - {"observation", "action"}:
        kind = np.dtype(np.bool_ if name in _FLAGS else np.float32)
        found = arrays[name].dtype, arrays[name].ndim
        _require(found == (kind, 2), f"its {name} is {found[0]} with {found[1]} axes; expected {kind} with 2")
        _require(name not in _FLAGS or arrays[name].view(np.uint8).max() <= 1, f"its {name} is neither 0 nor 1")
    tasks = len(assignment.tasks) or 1
    _require(columns % tasks == 0, f"it has {columns} columns for {tasks} tasks")
