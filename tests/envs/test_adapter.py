"""Any single Gymnasium environment as a family: the tasks are set, the splits disjoint, the time limit kept."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from innerloop.envs.adapter import GymnasiumFamily, Task
from innerloop.envs.errors import BadInput


class Countdown(gymnasium.Env):
    """Ends after `limit` steps; the observation is the step, the reward `limit` times ten plus the step."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)
    limit = 3
    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self._time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self._time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._time += 1
        return np.full(1, self._time, np.float32), 10 * self.limit + self._time, self._time >= self.limit, False, {}


def set_limit(env: gymnasium.Env, task: Task) -> None:
    assert isinstance(env, Countdown)
    env.limit = int(task["limit"])


def family(horizon: int | None = 5, limits: tuple[int, ...] = (1, 2, 3, 4, 9), **options: Any) -> GymnasiumFamily:
    return GymnasiumFamily(Countdown, set_limit, [{"limit": limit} for limit in limits], horizon=horizon, **options)


def test_each_row_is_the_mdp_of_its_task_and_a_longer_episode_is_truncated() -> None:
    env = family(horizon=3).make({"limit": np.array([1, 2, 3, 9])}, np.random.default_rng(0))
    env.reset(np.ones(4, np.bool_))
    steps = [env.step(np.zeros(4, np.int64)) for _ in range(3)]
    np.testing.assert_array_equal(steps[0].reward, [11, 21, 31, 91])
    np.testing.assert_array_equal([s.terminated for s in steps], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal([s.truncated for s in steps], [[0] * 4, [0] * 4, [0, 0, 0, 1]])


def test_train_and_test_are_different_members_of_a_list_and_together_all_of_it() -> None:
    some = family(limits=tuple(range(1, 21)), test_share=0.25)
    rng = np.random.default_rng(0)
    train, test = (set(some.sample(rng, 2000, split)["limit"].tolist()) for split in ("train", "test"))
    assert not train & test
    assert train | test == set(range(1, 21))
    assert len(test) == 5


def test_the_environments_own_time_limit_is_the_horizon() -> None:
    limited = GymnasiumFamily(lambda: gymnasium.make("Pendulum-v1"), lambda *_: None, lambda rng: {"a": rng.random()})
    assert limited.horizon == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": None}, r"^horizon is None; expected at least 1; .*time limit.*\.$"),
        ({"horizon": 0}, r"^horizon is 0; expected at least 1.*\.$"),
        ({"test_share": 0.0}, r"^the number of test tasks is 0; expected at least 1 of the 5 given\.$"),
        ({"test_share": 1.0}, r"^the number of train tasks is 0; expected at least 1 of the 5 given\.$"),
        ({"limits": ()}, r"^the number of test tasks is 0; expected .*\.$"),
    ],
)
def test_a_family_that_cannot_be_is_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        family(**options)


def test_an_observation_of_another_shape_is_refused_in_one_sentence() -> None:
    class Wrong(Countdown):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
            return np.zeros((2, 2), np.float32), {}

    env = GymnasiumFamily(Wrong, set_limit, [{"limit": limit} for limit in range(1, 6)], horizon=2).make(
        {"limit": np.ones(3)}, np.random.default_rng(0)
    )
    with pytest.raises(BadInput, match=r"shape of .*observation.* is \(2, 2\); expected \(1,\)\.$"):
        env.reset(np.ones(3, np.bool_))


def test_environments_are_used_again_once_their_batch_is_gone() -> None:
    some, rng = family(), np.random.default_rng(0)
    before = Countdown.made
    for _ in range(3):
        env = some.make(some.sample(rng, 6, "train"), rng)
        env.reset(np.ones(6, np.bool_))
        del env
    assert Countdown.made - before <= 6


def test_used_environments_repeat_bit_for_bit(cartpole: GymnasiumFamily) -> None:
    def record() -> np.ndarray:
        rng = np.random.default_rng(2)
        env = cartpole.make(cartpole.sample(rng, 4, "train"), rng)
        first = env.reset(np.ones(4, np.bool_))
        return np.stack([first, *(env.step(np.zeros(4, np.int64)).observation for _ in range(5))])

    first = record()
    cartpole.make(cartpole.sample(np.random.default_rng(5), 3, "test"), np.random.default_rng(5)).reset(
        np.ones(3, np.bool_)
    )
    np.testing.assert_array_equal(record(), first)
