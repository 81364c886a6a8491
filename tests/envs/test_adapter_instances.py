"""The environments behind an adapted family: different ones, alike in their spaces, closed once; what they raise."""

import errno
import gc
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from given import Given, family, played
from gymnasium import spaces
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, RecordEpisodeStatistics, TimeLimit
from logged import ours

from innerloop.envs.errors import BadInput, EnvironmentRaised
from innerloop.envs.trials import Trials


def counting(make: Callable[[], gymnasium.Env]) -> tuple[list[Given], Callable[[], gymnasium.Env]]:
    """What `make` makes, noted."""
    made: list[Any] = []

    def noting() -> gymnasium.Env:
        env = make()
        made.append(env.unwrapped)
        return env

    return made, noting


def the_same() -> Callable[[], gymnasium.Env]:
    env = Given()
    return lambda: env


def wrappers_of_the_same(wrap: Callable[[gymnasium.Env], gymnasium.Env] = RecordEpisodeStatistics) -> Any:
    env = Given()
    return lambda: wrap(env)


def alternating() -> Callable[[], gymnasium.Env]:
    envs = [Given(), Given()]
    return lambda: envs.append(envs.pop(0)) or envs[-1]


@pytest.mark.parametrize(
    "make",
    [
        the_same(),
        wrappers_of_the_same(),
        wrappers_of_the_same(lambda env: TimeLimit(RecordEpisodeStatistics(env), 2)),
        alternating(),
    ],
    ids=["same", "wrapped", "wrapped-twice", "alternating"],
)
def test_an_instance_that_is_given_twice_is_refused_in_one_sentence(make: Callable[[], gymnasium.Env]) -> None:
    some = family(make)
    with pytest.raises(
        BadInput, match=r"^what make returned is .*Given.* again; expected a new Given at every call.*\.$"
    ):
        played(some, n=3)


def test_one_environment_is_enough_for_one_row() -> None:
    some = family(the_same())
    for _ in range(3):
        assert len(played(some, n=1)[1]) == 6


@pytest.mark.parametrize(
    "given", [None, 3, Given, gymnasium.vector.SyncVectorEnv([Given])], ids=lambda g: type(g).__name__
)
def test_what_is_no_environment_is_refused_in_one_sentence(given: Any) -> None:
    with pytest.raises(BadInput, match=r"^what make returned is .*; expected a gymnasium\.Env\.$"):
        family(lambda: given)


OTHER = {
    "observation_space": [
        spaces.Box(-10, 10, (3,), np.float32),
        spaces.Box(-10, 11, (2,), np.float32),
        spaces.Box(-10, 10, (2,), np.float64),
        spaces.Discrete(2),
        spaces.Text(2),
        None,
    ],
    "action_space": [spaces.Discrete(3), spaces.Discrete(2, start=1), spaces.Box(-1, 1, (2,), np.float32), None],
}


@pytest.mark.parametrize(("which", "space"), [(which, space) for which, all in OTHER.items() for space in all])
def test_spaces_that_change_from_one_instance_to_the_next_are_refused(which: str, space: Any) -> None:
    each = iter([Given(), Given(), Given(**{which: space})])
    made, make = counting(lambda: next(each))
    some = family(make)
    message = rf"^the {which.replace('_', ' ')} of Given is [^\n]*; expected [^\n]*, as the first environment has\.$"
    with pytest.raises(BadInput, match=message):
        played(some, n=3)
    del some
    gc.collect()
    assert [env.closed for env in made] == [1, 1, 1]


@pytest.mark.parametrize(
    ("which", "space", "refused"),
    [
        ("observation_space", spaces.Box(-1, 3, (2,), np.float32), False),  # such as the place of a task's goal
        ("observation_space", spaces.Box(-10, 10, (3,), np.float32), True),
        ("observation_space", spaces.Discrete(2), True),
        ("action_space", spaces.Discrete(2), False),
        ("action_space", spaces.Discrete(3), True),
    ],
)
def test_a_task_may_change_the_bounds_of_observations_and_nothing_else(which: str, space: Any, refused: bool) -> None:
    some = family(set_task=lambda env, task: setattr(env, which, space))
    if refused:
        with pytest.raises(
            BadInput, match=rf"^the {which.replace('_', ' ')} of Given is .*, as the first environment has\.$"
        ):
            played(some)
    else:
        assert len(played(some)[1]) == 6


def test_environments_are_closed_once_each_when_the_family_and_its_batches_are_gone() -> None:
    made, make = counting(Given)
    some, rng = family(make), np.random.default_rng(0)
    batch = some.make(some.sample(rng, 3, "train"), rng)
    other = some.make(some.sample(rng, 2, "train"), rng)
    del some, other
    gc.collect()
    assert [env.closed for env in made] == [0] * 5  # a batch still plays
    assert np.isfinite(batch.reset(np.ones(3, np.bool_))).all()
    del batch
    gc.collect()
    assert [env.closed for env in made] == [1] * 5


@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 0},
        {"tasks": [1, 1, 1]},
        {"tasks": lambda rng: None},
        {"make": lambda: Given(action_space=spaces.Text(3))},
        {"make": lambda: Given(observation_space=None)},
    ],
)
def test_the_environment_of_a_family_that_cannot_be_is_closed(options: dict[str, Any]) -> None:
    made, make = counting(options.pop("make", Given))
    with pytest.raises(BadInput):
        family(make, **options)
    assert [env.closed for env in made] == [1]


def test_environments_are_closed_at_the_end_of_the_program() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from given import Given, family
import numpy as np
Given.close = lambda self: print("closed")
some = family()
batch = some.make(some.sample(np.random.default_rng(0), 3, "train"), np.random.default_rng(0))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(__file__).rpartition("/")[0]], capture_output=True, text=True, timeout=120
    )
    assert ended.stdout.split() == ["closed"] * 3
    assert ended.returncode == 0
    assert ended.stderr == ""


def test_an_environment_that_does_not_close_is_named_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck(Given):
        def close(self) -> None:
            super().close()
            raise OSError("the display is gone")

    made, make = counting(Stuck)
    some = family(make)
    played(some, n=3)
    del some
    gc.collect()
    assert [env.closed for env in made] == [1] * 3
    assert ours(caplog) == ["An environment could not be closed: OSError: the display is gone."] * 3


def test_a_copy_that_travelled_makes_its_own_and_expects_the_same_spaces() -> None:
    some = pickle.loads(pickle.dumps(family(Given)))
    assert len(played(some)[1]) == 6
    other = pickle.loads(pickle.dumps(family(Given)))
    other.instances.make = lambda: Given(action_space=spaces.Discrete(3))
    with pytest.raises(
        BadInput, match=r"^the action space of Given is Discrete\(3\); expected Discrete\(2\), as the first"
    ):
        played(other)


class Custom(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.reward_rms = 0.0


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (NormalizeObservation, ["NormalizeObservation"]),
        (NormalizeReward, ["NormalizeReward"]),
        (
            lambda env: TimeLimit(NormalizeReward(NormalizeObservation(env)), 9),
            ["NormalizeReward", "NormalizeObservation"],
        ),
        (Custom, ["Custom"]),
        (RecordEpisodeStatistics, []),
        (lambda env: TimeLimit(env, 9), []),
        (lambda env: env, []),
    ],
)
def test_statistics_that_run_over_episodes_are_warned_of_once(
    wrap: Callable[[gymnasium.Env], gymnasium.Env], names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "innerloop"):
        some = family(lambda: wrap(Given()))
        played(some, n=4)
    found = ours(caplog)
    assert [message.split()[0] for message in found] == names
    assert all("Given" in message and "results depend on what else was played" in message for message in found)


class Broken(Given):
    """Raises in one of its methods, after the first so many calls."""

    def __init__(self, method: str, error: BaseException, after: int = 0) -> None:
        super().__init__()
        self._method, self.error, self._left = method, error, after

    def _perhaps(self, method: str) -> None:
        if method == self._method:
            self._left -= 1
            if self._left < 0:
                raise self.error

    def reset(self, **options: Any) -> Any:
        self._perhaps("reset")
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        self._perhaps("step")
        return super().step(action)

    def set_task(self) -> None:
        self._perhaps("set_task")


@pytest.mark.parametrize("method", ["reset", "step", "set_task"])
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("no such joint"), "ValueError: no such joint"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("one\ntwo  three"), "RuntimeError: one two three"),
        (SystemExit(0), "SystemExit: 0"),
        (KeyError("x" * 1000), f"KeyError: '{'x' * 299}…"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_an_environment_raises_is_one_sentence_with_its_line(
    method: str, error: BaseException, shown: str
) -> None:
    some = family(lambda: Broken(method, error), set_task=lambda env, task: env.set_task())
    with pytest.raises(EnvironmentRaised) as raised:
        played(some)
    start, _, where = str(raised.value).rpartition(", at ")
    assert start == f"Broken's {method} raised {shown}"
    file, _, rest = where.rpartition(":")
    assert file.endswith("test_adapter_instances.py")
    assert rest.split(" ", 1)[0].isdigit()
    assert rest.split(" ", 1)[1] == "in _perhaps."
    assert raised.value.__cause__ is error
    copy = pickle.loads(pickle.dumps(raised.value))
    assert type(copy) is EnvironmentRaised
    assert str(copy) == str(raised.value)


def test_ctrl_c_is_no_fault_of_the_environment() -> None:
    with pytest.raises(KeyboardInterrupt):
        played(family(lambda: Broken("step", KeyboardInterrupt())))


def test_an_environment_that_failed_is_closed_and_never_used_again() -> None:
    made, make = counting(lambda: Broken("step", ValueError("lost the simulator"), after=2 if not made else 1000))
    some = family(make)
    with pytest.raises(EnvironmentRaised):
        played(some)
    made[0].error.__traceback__ = None  # pyright: ignore[reportAttributeAccessIssue]  it holds on to the batch
    gc.collect()
    assert [env.closed for env in made] == [1, 0]
    assert len(played(some)[1]) == 6
    assert len(made) == 3


def test_a_make_that_raises_is_one_sentence() -> None:
    def make() -> gymnasium.Env:
        raise ImportError("no licence")

    with pytest.raises(
        EnvironmentRaised, match=r"^the environment's make raised ImportError: no licence, at .* in make\.$"
    ):
        family(make)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError()],
    ids=["files", "memory", "python"],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_no_room_for_so_many_environments_is_one_sentence_that_says_what_to_lower(
    error: Exception, wrapped: bool
) -> None:
    made: list[Given] = []

    def make() -> gymnasium.Env:
        if len(made) >= 3:
            if wrapped:
                raise RuntimeError("no simulator") from error
            raise error
        made.append(Given())
        return made[-1]

    some = family(make)
    message = (
        r"^the number of environments \(Given\) at once is 9; expected fewer, as there is room for 3 .*trials.*rows"
    )
    with pytest.raises(BadInput, match=message):
        played(some, n=9)
    assert len(played(some, n=3)[1]) == 6
    del some
    error.__traceback__ = None  # it holds on to the family
    gc.collect()
    assert [env.closed for env in made] == [1] * 3


def test_a_batch_that_is_gone_leaves_its_environments_to_the_next() -> None:
    made, make = counting(Given)
    some, rng = family(make), np.random.default_rng(0)
    for n in (3, 5, 2, 5):
        Trials(some, some.sample(rng, n, "train"), 1, rng).begin()
    assert len(made) == 5
