"""What a single environment gives is right, or refused in one sentence that says who gave what in which field."""

from fractions import Fraction
from typing import Any

import gymnasium
import numpy as np
import pytest
from given import Given, family, played
from gymnasium import spaces

from innerloop.actors.baselines.uniform import Random
from innerloop.actors.rollout import play
from innerloop.envs.errors import BadInput
from innerloop.envs.trials import Trials

OBSERVATION, ACTION = spaces.Box(-10, 10, (2,), np.float32), spaces.Discrete(2)


def box(dtype: Any, high: float = 100) -> spaces.Box:
    return spaces.Box(0, high, (2,), dtype)


ZEROS = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"step": (ZEROS, 1.0, False, {})},
            "what step of Given returned is a tuple of 4; expected a tuple .observation",
        ),
        ({"step": (ZEROS, 1.0, False, False, {}, 0)}, "what step of Given returned is a tuple of 6; expected a tuple"),
        ({"step": [ZEROS, 1.0, False, False, {}]}, "what step of Given returned is a list; expected a tuple"),
        ({"step": None}, "what step of Given returned is a NoneType; expected a tuple"),
        ({"step": ZEROS}, "what step of Given returned is a ndarray; expected a tuple"),
        ({"info": False}, "what step of Given returned is a tuple of 5; expected .*info a dict"),
        ({"reset": ZEROS}, "what reset of Given returned is a ndarray; expected a tuple .observation, info"),
        ({"reset": (ZEROS,)}, "what reset of Given returned is a tuple of 1; expected"),
        ({"reset": (ZEROS, {}, {})}, "what reset of Given returned is a tuple of 3; expected"),
        ({"reset": (0.0, 0.0)}, "what reset of Given returned is a tuple of 2; expected .*info a dict"),
        ({"reset": None}, "what reset of Given returned is a NoneType; expected"),
        *(
            ({"reward": given}, f"Given's reward is {shown}.*; expected")
            for given, shown in [
                (np.nan, "nan"),
                (np.inf, "inf"),
                (-np.inf, "-inf"),
                (1e39, r"1e\+39"),
                (np.float32("nan"), "nan"),
                (10**400, "100000"),
                ("1.0", "'1.0'"),
                (None, "None"),
                (1 + 0j, r"\(1\+0j\)"),
                (np.zeros(2), "array"),
                ([], r"\[\]"),
                (Fraction(1, 2), "Fraction"),
                (np.array([None]), "array"),
                ({}, "{}"),
            ]
        ),
        *(
            ({flag: given}, f"Given's {flag} is {shown}.*; expected")
            for flag in ("terminated", "truncated")
            for given, shown in [
                ("False", "'False'"),
                (None, "None"),
                (2, "2"),
                (-1, "-1"),
                (0.5, "0.5"),
                (np.nan, "nan"),
                (np.zeros(2, np.bool_), "array"),
                ({}, "{}"),
                ([], r"\[\]"),
            ]
        ),
        *(
            ({name: given}, rf"(the shape of )?Given's observation is {shown}.*; expected")
            for name in ("first", "observation")
            for given, shown in [
                (np.zeros(3, np.float32), r"\(3,\)"),
                (np.zeros((2, 1), np.float32), r"\(2, 1\)"),
                (0.0, r"\(\)"),
                (np.float32([0, np.nan]), "nan"),
                ([0.0, np.inf], "inf"),
                (np.float64([0, 1e39]), r"1e\+39"),
                (np.array([0, 1j]), "array"),
                (["0", "1"], r"\['0', '1'\]"),
                ([0.0, None], r"\[0.0, None\]"),
                ([[0.0], [0.0, 1.0]], r"\[\[0.0\]"),
                ({"x": 0.0}, "{'x': 0.0}"),
                (None, "None"),
            ]
        ),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=rf"^{message}[^\n]*\.$"):
        played(family(lambda: Given(**fields)))


@pytest.mark.parametrize(
    ("space", "given", "shown"),
    [
        (box(np.uint8), [0, 256], "256"),
        (box(np.uint8), [0, -1], "-1"),
        (box(np.uint8), [0.4, 0], "0.4"),
        (box(np.uint8), np.float32([np.nan, 0]), "nan"),
        (box(np.int32), [0, 2**31], "2147483648"),
        (box(np.int32), [0, np.inf], "inf"),
        (box(np.int64), [2**64, 0], r"\[18446744073709551616, 0\]"),
        (box(np.int64), [0, 1e30], r"1e\+30"),
        (box(np.uint64), [-1, 0], "-1"),
        (box(np.float16), [0, 1e5], "100000.0"),
        (box(np.float32), [0, 1e300], r"1e\+300"),
        (spaces.Box(0, 1, (2,), np.bool_), [0, 2], "2"),  # pyright: ignore[reportCallIssue]
        (spaces.Discrete(3), 1.7, "1.7"),
        (spaces.Discrete(3), np.nan, "nan"),
        (spaces.Discrete(3), 3, "3"),
        (spaces.Discrete(3), -1, "-1"),
        (spaces.Discrete(3, start=5), 0, "0"),
        (spaces.Discrete(3), "1", "'1'"),
    ],
)
def test_a_cast_that_loses_is_refused(space: gymnasium.Space, given: Any, shown: str) -> None:
    for name in ("first", "observation"):
        with pytest.raises(BadInput, match=rf"^Given's observation is {shown}; expected [^\n]*\.$"):
            played(family(lambda name=name: Given(observation_space=space, **{name: given})))


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (box(np.float32), [1, 2]),
        (box(np.float32), np.float64([0.1, 1 / 3])),
        (box(np.float32), np.float16([0.5, 2])),
        (box(np.float32), (1.5, np.float32(2))),
        (box(np.float64), np.float32([0.1, 0.2])),
        (box(np.uint8, 255), np.int64([0, 255])),
        (box(np.uint8, 255), [True, False]),
        (box(np.uint8, 255), np.float64([3, 4])),
        (box(np.int32), np.int64([7, 8])),
        (box(np.int8), np.uint8([127, 0])),
        (spaces.Box(0, 1, (2,), np.bool_), [1, 0]),  # pyright: ignore[reportCallIssue]
        (box(np.float32, 1), [-3, 70]),  # outside of its bounds, finite
        (box(np.uint8, 10), [200, 3]),
        (spaces.Box(-1, 1, (), np.float32), 0.5),
        (spaces.Box(-1, 1, (), np.float32), np.array(0.5)),
        (spaces.Discrete(3), np.uint8(2)),
        (spaces.Discrete(3), np.array(2)),
        (spaces.Discrete(3), 2.0),
        (spaces.Discrete(2), True),
        (spaces.Discrete(3, start=-4), -3),
    ],
    ids=str,
)
def test_a_cast_without_loss_is_right(space: gymnasium.Space, given: Any) -> None:
    inputs, _ = played(family(lambda: Given(observation_space=space, observation=given)))
    assert inputs[1].observation.dtype == space.dtype
    assert inputs[1].observation.shape == (2, *(space.shape or ()))
    for row in inputs[1].observation:
        np.testing.assert_array_equal(row, np.asarray(given).astype(space.dtype))


@pytest.mark.parametrize(
    "given", [3, True, np.float32(3), np.float16(3), np.int8(3), np.array(3.0), np.array([3]), [3.0], np.bool_(True)]
)
def test_a_reward_may_be_any_number(given: Any) -> None:
    _, steps = played(family(lambda: Given(reward=given)))
    for step in steps:
        assert step.reward.dtype == np.float32
        np.testing.assert_array_equal(step.reward, np.full(2, float(np.asarray(given).item())))


@pytest.mark.parametrize("kind", [int, float, np.bool_, np.int64, np.uint8, np.array, lambda x: np.array([x])])
@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_a_flag_of_another_type_plays_as_many_steps_as_a_bool(kind: Any, flag: str) -> None:
    class Flags(Given):
        def step(self, action: Any) -> Any:
            observation, reward, end, _, info = super().step(action)
            flags = {"terminated": kind(False), "truncated": kind(False), flag: kind(end)}
            return observation, reward, flags["terminated"], flags["truncated"], info

    _, steps = played(family(Flags), episodes=4)
    assert len(steps) == 4 * Given.limit
    for t, step in enumerate(steps, 1):
        ends = {"terminated": step.terminated, "truncated": step.truncated}[flag]
        np.testing.assert_array_equal(ends, t % Given.limit == 0)
        assert ends.dtype == np.bool_


@pytest.mark.parametrize(
    ("which", "space", "message"),
    [
        (which, space, message)
        for which in ("observation_space", "action_space")
        for space, message in [
            (None, "is None; expected Discrete, "),
            (spaces.Text(3), r"is Text\(.*\); expected Discrete, .*gymnasium.wrappers"),
            (spaces.Sequence(spaces.Discrete(2)), r"is Sequence\(.*\); expected Discrete, "),
            (spaces.Graph(spaces.Discrete(2), None), r"is Graph\(.*\); expected Discrete, "),
        ]
    ]
    + [
        ("action_space", space, rf"is {kind}.*; expected Discrete, .* or a Box of floats; gymnasium.wrappers")
        for space, kind in [
            (spaces.Dict({"x": spaces.Discrete(2)}), "Dict"),
            (spaces.Tuple([spaces.Discrete(2)]), "Tuple"),
            (box(np.int32), "Box"),
        ]
    ]
    + [
        ("observation_space", space, message)
        for space, message in [
            (spaces.Dict({}), r"is Dict\(\); expected at least one entry"),
            (spaces.Tuple([]), r"is Tuple\(\); expected at least one entry"),
            (spaces.Box(0, 1, (2,), np.longdouble), "is Box.*; expected numbers of at most 64 bits"),
        ]
    ],
)
def test_a_space_that_is_not_supported_is_refused_in_one_sentence(which: str, space: Any, message: str) -> None:
    with pytest.raises(BadInput, match=rf"^the {which.replace('_', ' ')} of Given {message}[^\n]*\.$"):
        family(lambda: Given(**{which: space}))


@pytest.mark.parametrize("bounds", [(np.nan, 1), (0, np.nan), (2, 1)])
@pytest.mark.parametrize("which", ["observation_space", "action_space"])
def test_bounds_that_leave_no_member_are_refused(which: str, bounds: tuple[float, float]) -> None:
    space = spaces.Box(0, 1, (2,), np.float32)
    space.low[:], space.high[:] = bounds
    with pytest.raises(BadInput, match=rf"^the {which.replace('_', ' ')} of Given is Box.*; expected bounds .*\.$"):
        family(lambda: Given(**{which: space}))


def test_an_action_that_the_environment_changes_is_stored_as_it_was_chosen() -> None:
    class Changes(Given):
        action_space = spaces.Box(-1, 1, (2,), np.float32)

        def step(self, action: Any) -> Any:
            reward = float(action[0])
            action *= 0
            action += 7
            return *super().step(action)[:1], reward, *super().step(action)[2:]

    some = family(Changes)
    rng = np.random.default_rng(0)
    found = play(Random(some.action_space), Trials(some, some.sample(rng, 3, "train"), 2, rng), rng)
    assert np.abs(found.action).max() <= 1
    np.testing.assert_array_equal(found.action[..., 0], found.reward)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_an_action_is_a_member_of_the_space_in_shape_and_dtype(shape: tuple[int, ...], dtype: Any) -> None:
    seen = []

    class Notes(Given):
        action_space = spaces.Box(-1, 1, shape, dtype)

        def step(self, action: Any) -> Any:
            assert isinstance(action, np.ndarray)
            assert self.action_space.contains(action)
            seen.append(action)
            return super().step(action)

    played(family(Notes))
    assert {(each.shape, each.dtype) for each in seen} == {(shape, np.dtype(dtype))}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"horizon": given}, f"horizon is {given}; expected") for given in (True, 2.5, 0, -1, np.nan, "5")),
        *(({"rows": given}, f"rows is {given}; expected") for given in (True, 2.5, 0, -1, None)),
        *(
            ({"tasks": [{"a": i} for i in range(9)], "test_share": given}, f"test_share is {given}; expected")
            for given in (-0.1, 1.5, np.nan, True, "half")
        ),
        ({"test_share": 0.5}, "test_share is 0.5; expected none, because the tasks are drawn"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=rf"^{message.replace('is 5', 'is .5.').replace('is half', 'is .half.')}.*\.$"):
        family(**options)


@pytest.mark.parametrize("horizon", [np.int64(4), np.uint8(4), 4])
def test_a_whole_number_of_any_type_is_a_horizon(horizon: Any) -> None:
    some = family(horizon=horizon)
    assert some.horizon == 4
    assert type(some.horizon) is int
