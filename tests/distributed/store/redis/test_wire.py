"""Trajectories as bytes: equal to the bit when they come back, and refused in one way when they are anything else."""

import dataclasses
import json
import struct
import zlib

import numpy as np
import pytest
from safetensors.numpy import save

from innerloop.actors.actor import Assignment
from innerloop.distributed.store.redis.wire import FORMAT, decode, encode
from innerloop.distributed.store.schema import Undecodable
from innerloop.learner.trajectory import Trajectory


def random_trajectory(steps: int = 7, columns: int = 4, *, dense: bool = False, seed: int = 0) -> Trajectory:
    """Everything that a trajectory can have."""
    rng = np.random.default_rng(seed)
    at_steps, at_inputs = (steps, columns), (steps + 1, columns)
    return Trajectory(
        observation=rng.normal(size=(*at_inputs, 3, 2)),
        action=rng.integers(5, size=at_steps),
        reward=rng.normal(size=at_steps).astype(np.float32),
        terminated=rng.random(at_steps) < 0.3,
        truncated=rng.random(at_steps) < 0.3,
        valid=rng.random(at_steps) < 0.8,
        privileged={"reward": rng.normal(size=at_steps).astype(np.float32)} if dense else {},
        measures={"success": rng.random((columns, 3), np.float32)} if dense else {},
        note={"value": rng.normal(size=at_inputs).astype(np.float16), "state": rng.integers(9, size=(*at_inputs, 2))},
        version=12,
        diverged=3,
    )


def assert_same(found: Trajectory, expected: Trajectory) -> None:
    """To the bit, NaN and signs of zeros included."""
    for field in dataclasses.fields(Trajectory):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if not isinstance(other, dict):
            one, other = {"": one}, {"": other}
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, np.ndarray):
                assert (one[name].dtype, one[name].shape) == (value.dtype, value.shape), field.name
                assert one[name].tobytes() == value.tobytes(), field.name
            else:
                assert one[name] == value, field.name


ASSIGNMENT = Assignment(5, 1, 4, (7, 0, 7, 2), 3, (0, 1, 1, 0))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("assignment", [ASSIGNMENT, Assignment(0, 0, 4), Assignment(2**40, 3, 2, (1, 0))])
def test_what_comes_back_is_what_was_given_to_the_bit(assignment: Assignment, dense: bool) -> None:
    given = random_trajectory(dense=dense)
    given.reward[0] = np.nan, -0.0, np.inf, -np.inf
    found, trajectory = decode(encode(assignment, given))
    assert found == assignment
    assert isinstance(found, Assignment)
    assert isinstance(found.tasks, tuple)
    assert_same(trajectory, given)


def test_arrays_in_any_order_in_memory_come_back_as_they_look() -> None:
    given = random_trajectory()
    turned = dataclasses.replace(
        given, observation=np.asfortranarray(given.observation), reward=given.reward[::-1], valid=given.valid.T.copy().T
    )
    _, found = decode(encode(ASSIGNMENT, turned))
    np.testing.assert_array_equal(found.observation, given.observation)
    np.testing.assert_array_equal(found.reward, given.reward[::-1])
    np.testing.assert_array_equal(found.valid, given.valid)


def test_numbers_of_numpy_come_back_as_numbers() -> None:
    given = dataclasses.replace(random_trajectory(), diverged=np.int64(2))  # pyright: ignore[reportArgumentType]
    tasks = tuple(np.arange(4))
    assignment, trajectory = decode(encode(Assignment(0, 0, 4, tasks), given))
    assert (type(trajectory.diverged), trajectory.diverged, assignment.tasks) == (int, 2, (0, 1, 2, 3))


def test_a_payload_cut_anywhere_is_refused() -> None:
    data = encode(ASSIGNMENT, random_trajectory(steps=1))
    for length in range(len(data)):
        with pytest.raises(Undecodable, match=r"\.$"):
            decode(data[:length])
    with pytest.raises(Undecodable, match="expected"):
        decode(data + b"x")


def test_a_payload_with_any_byte_changed_is_refused() -> None:
    data = encode(ASSIGNMENT, random_trajectory(steps=1))
    for place in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            with pytest.raises(Undecodable):
                decode(bytes(changed))


def test_noise_is_refused() -> None:
    rng = np.random.default_rng(0)
    start = encode(ASSIGNMENT, random_trajectory(steps=1))
    for length in range(0, 600, 3):
        noise = rng.bytes(length)
        for data in (noise, start[:8] + noise, start[:28] + noise):
            with pytest.raises(Undecodable):
                decode(data)


def forged(about: bytes, body: bytes, *, given: int = FORMAT) -> bytes:
    """A payload whose lengths and checksum are right, whatever is inside."""
    header = struct.pack("<8sIIQ", b"innrloop", given, len(about), len(body))
    return header + struct.pack("<I", zlib.crc32(header + about + body)) + about + body


NUMBERS = {"assignment": [5, 1, 4, [7, 0, 7, 2], 3, [0, 1, 1, 0]], "version": 12, "diverged": 3}


def arrays() -> dict[str, np.ndarray]:
    given = random_trajectory()
    names = ("observation", "action", "reward", "terminated", "truncated", "valid")
    return {name: getattr(given, name) for name in names}


def test_what_is_forged_right_is_right() -> None:
    assert decode(forged(json.dumps(NUMBERS).encode(), save(arrays())))[0] == ASSIGNMENT


@pytest.mark.parametrize("given", [0, FORMAT + 1])
def test_another_format_is_refused_by_its_number(given: int) -> None:
    with pytest.raises(Undecodable, match=rf"^it is of format {given}; expected {FORMAT}\.$"):
        decode(forged(json.dumps(NUMBERS).encode(), save(arrays()), given=given))


@pytest.mark.parametrize(
    "numbers",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b"[]",
        b"{}",
        *(
            json.dumps(NUMBERS | change).encode()
            for change in (
                {"assignment": None},
                {"assignment": [5, 1, 4]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2]]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2], 3]},
                {"assignment": [5, 1, 4, 7, 3, []]},
                {"assignment": [5, 1, 4, [7, 0], 3, []]},
                {"assignment": [5, 1, 4, [7, 0, 7, "2"], 3, []]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2], 3.0, []]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2], 3, 1]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2], 3, [0, 1]]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2], 3, [0, 1, 1, True]]},
                {"assignment": [5, 1, 4, [7, 0, 7, 2], 3, [0, 1, 1, -1]]},
                {"assignment": [5, True, 4, [], 3, []]},
                {"assignment": [5, -1, 4, [], 3, []]},
                {"assignment": [5.0, 1, 4, [], 3, []]},
                {"assignment": [5, 1, 3, [1, 2, 3], 3, []]},  # of 4 columns
                {"assignment": [2**63, 1, 4, [], 3, []]},
                {"version": "12"},
                {"version": -1},
                {"diverged": None},
                {"more": 1},
            )
        ),
    ],
    ids=lambda numbers: numbers[:60].decode(errors="replace"),
)
def test_other_numbers_are_refused(numbers: bytes) -> None:
    with pytest.raises(Undecodable, match=r"^it.*\.$"):
        decode(forged(numbers, save(arrays())))


@pytest.mark.parametrize(
    "change",
    [
        {"reward": np.zeros((7, 4))},
        {"reward": np.zeros((7, 4, 1), np.float32)},
        {"reward": np.zeros(7, np.float32)},
        {"reward": np.zeros((0, 4), np.float32)},
        {"valid": np.zeros((7, 4), np.uint8)},
        {"valid": np.zeros((7, 5), np.bool_)},
        {"valid": np.full((7, 4), 2, np.uint8).view(np.bool_)},
        {"observation": np.zeros((7, 4, 3, 2))},
        {"observation": np.zeros(8)},
        {"action": np.zeros((8, 4))},
        {"note.value": np.zeros((7, 4))},
        {"privileged.reward": np.zeros((6, 4), np.float32)},
        {"privileged.reward": np.zeros((8, 4), np.float32)},
        {"measures.success": np.zeros((5, 3), np.float32)},
        {"measures.success": np.zeros((4, 3))},
        {"measures.success": np.zeros(4, np.float32)},
        {"else": np.zeros((7, 4))},
    ],
    ids=str,
)
def test_other_arrays_are_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(Undecodable, match=r"^it.*\.$"):
        decode(forged(json.dumps(NUMBERS).encode(), save(arrays() | change)))


@pytest.mark.parametrize("missing", ["observation", "valid"])
def test_missing_arrays_are_refused(missing: str) -> None:
    given = arrays()
    del given[missing]
    with pytest.raises(Undecodable, match="its arrays are"):
        decode(forged(json.dumps(NUMBERS).encode(), save(given)))


@pytest.mark.parametrize("body", [b"", b"\0" * 8, b"\xff" * 100, struct.pack("<Q", 2**62), b"\x02" + b"\0" * 7 + b"{}"])
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(forged(json.dumps(NUMBERS).encode(), body))
