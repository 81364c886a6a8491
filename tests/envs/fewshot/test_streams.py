"""Streams of examples: what is told, what is not, and what cannot be inferred."""

from typing import Any

import numpy as np
import pytest

from innerloop.envs.errors import BadInput
from innerloop.envs.fewshot.sinusoid import Sinusoid
from innerloop.envs.fewshot.strokes import SIDE, Strokes, draw
from innerloop.envs.trials import Trials

N, WAYS = 400, 4
EVERYONE = np.ones(N, np.bool_)


def stream(shots: int, episodes: int, guess: Any = None) -> dict[str, np.ndarray]:
    """Whole trials, [episodes, ways, N] each: answers, what had been told at each step, rewards and drawings.

    Args:
        shots: of the family.
        episodes: of a trial.
        guess: actions [N] from the answers that have been told in this episode so far, as a list of [N].
    """
    family, rng = Strokes(ways=WAYS, shots=shots), np.random.default_rng(0)
    env = family.make(family.sample(rng, N, "train"), rng)
    found: dict[str, list[Any]] = {"answer": [], "told": [], "reward": [], "example": []}
    for _ in range(episodes):
        seen: Any = env.reset(EVERYONE)
        for name in found:
            found[name].append([])
        past: list[np.ndarray] = []
        for _ in range(WAYS):
            found["told"][-1].append(seen["answer"])
            found["example"][-1].append(seen["example"])
            step = env.step(guess(past) if guess else np.zeros(N, np.int64))
            seen = step.observation
            past.append(step.privileged["answer"])
            found["answer"][-1].append(step.privileged["answer"])
            found["reward"][-1].append(step.reward)
        assert step.terminated.all()
        assert not seen["example"].any()
    return {name: np.array(each) for name, each in found.items()}


def test_the_answer_to_a_step_is_told_at_the_next_one_across_episodes() -> None:
    found = stream(shots=0, episodes=3)
    answer, told = (found[name].reshape(-1, N) for name in ("answer", "told"))
    assert (told[0] == WAYS).all()
    np.testing.assert_array_equal(told[1:], answer[:-1])
    np.testing.assert_array_equal(found["reward"], found["answer"] == 0)


def test_an_episode_has_every_class_once_and_queries_are_independent() -> None:
    found = stream(shots=2, episodes=4)
    np.testing.assert_array_equal(np.sort(found["answer"][:2], 1)[:, :, 0], np.tile(np.arange(WAYS), (2, 1)))
    assert (np.sort(found["answer"][:2], 1) == np.arange(WAYS)[:, None]).all()
    told = found["told"].reshape(-1, N)
    assert (told[1 : 2 * WAYS + 1] < WAYS).all()  # the last one shown is told at the first query
    assert (told[2 * WAYS + 1 :] == WAYS).all()
    counts = np.bincount(found["answer"][2:].reshape(-1), minlength=WAYS)
    assert (np.abs(counts - counts.mean()) < 5 * counts.mean() ** 0.5).all()
    again = (found["answer"][2:, 0] == found["answer"][2:, 1]).mean()
    assert again == pytest.approx(1 / WAYS, abs=5 * (0.25 / (2 * N)) ** 0.5)


def by_exclusion(past: list[np.ndarray]) -> np.ndarray:
    """The smallest class that has not come in this episode."""
    missing = np.ones((N, WAYS), np.bool_)
    for answer in past:
        missing[np.arange(N), answer] = False
    return missing.argmax(1)


def test_who_excludes_what_has_come_is_right_where_each_class_comes_once_and_by_chance_in_queries() -> None:
    found = stream(shots=1, episodes=6, guess=by_exclusion)
    assert found["reward"][0, -1].all()
    error = (0.25 / (5 * N)) ** 0.5
    assert found["reward"][1:, -1].mean() == pytest.approx(1 / WAYS, abs=5 * error)


def test_who_copies_what_is_told_is_right_by_chance() -> None:
    """Labels are offset by a step: on first instances what is told is of another class."""
    found = stream(shots=0, episodes=5)
    copied = found["told"] == found["answer"]
    assert not copied[0].any()
    assert copied[1:, 0].mean() == pytest.approx(1 / WAYS, abs=5 * (0.25 / (4 * N)) ** 0.5)


def test_drawings_are_of_their_class_alone_and_differ() -> None:
    classes, rng = np.array([2, 2, 2, 4]), np.random.default_rng(1)
    once, again = draw(classes, np.full(4, 0.3)), draw(classes[::-1], np.full(4, 0.3))[::-1]
    np.testing.assert_array_equal(once, again)  # whatever is drawn beside it
    np.testing.assert_array_equal(once[0], once[1])
    assert (once[0] != once[3]).any()
    many = draw(np.repeat([2, 4], 200), rng.random(400)).astype(float).reshape(2, 200, -1)
    assert len(np.unique(many[0], axis=0)) == 200
    means = many[:, :100].mean(1)
    nearest = ((many[:, 100:, None] - means) ** 2).sum(-1).argmin(-1)
    assert (nearest == np.arange(2)[:, None]).mean() > 0.8


def test_classes_are_of_one_split_alone() -> None:
    rng = np.random.default_rng(0)
    train, test = (Strokes().sample(rng, 1_000, split)["class"] for split in ("train", "test"))
    assert (train % 2 == 0).all()
    assert (test % 2 == 1).all()
    assert len(np.unique(train)) == train.size


def test_a_whole_trial_has_an_accuracy_for_every_number_of_shots() -> None:
    family = Strokes(ways=3, shots=2)
    tasks = family.sample(np.random.default_rng(0), 5, "test")
    trials = Trials(family, tasks, 4, np.random.default_rng(1))
    given, steps = trials.begin(), 0
    assert given.observation.shape == (5, SIDE * SIDE + 8)  # packed: the drawing, and the answer
    while trials.playing.any():
        given, _ = trials.step(np.zeros(5, np.int64))
        steps += 1
    assert steps == 12


def test_a_curve_s_points_and_what_is_told_of_them() -> None:
    family, rng = Sinusoid(shots=2), np.random.default_rng(0)
    tasks = family.sample(rng, N, "train")
    assert ((tasks["amplitude"] >= 0.1) & (tasks["amplitude"] <= 5)).all()
    assert ((tasks["phase"] >= 0) & (tasks["phase"] <= np.pi)).all()
    env = family.make(tasks, rng)
    before: dict[str, Any] = {"answer": np.zeros((N, 1)), "told": np.zeros(N)}
    for episode in range(4):
        seen: Any = env.reset(EVERYONE)
        for name, expected in before.items():
            np.testing.assert_array_equal(seen[name], expected)
        x = seen["example"][:, 0]
        assert (np.abs(x) <= 5).all()
        y = tasks["amplitude"] * np.sin(x - tasks["phase"])
        step = env.step(np.full((N, 1), 0.5, np.float32))
        np.testing.assert_allclose(step.privileged["answer"][:, 0], y, atol=1e-6)
        np.testing.assert_allclose(step.reward, -((0.5 - y) ** 2), rtol=1e-5, atol=1e-6)
        assert step.terminated.all()
        before = {"answer": step.privileged["answer"] * (episode < 2), "told": np.full(N, episode < 2)}
        for name, expected in before.items():
            np.testing.assert_array_equal(step.observation[name], expected)


def test_an_answer_that_is_far_off_has_a_finite_reward() -> None:
    family, rng = Sinusoid(), np.random.default_rng(0)
    env = family.make(family.sample(rng, 2, "train"), rng)
    env.reset(np.ones(2, np.bool_))
    most = np.finfo(np.float32).max
    assert env.step(np.float32([[most], [-most]])).reward.tolist() == [-most, -most]


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (Strokes, {"ways": 1}, "ways is 1; expected 2 to 1,000"),
        (Strokes, {"shots": -1}, "shots is -1; expected at least 0"),
        (Sinusoid, {"shots": -1}, "shots is -1; expected at least 0"),
        (Sinusoid, {"amplitude": (2.0, 1.0)}, "amplitude is"),
        (Sinusoid, {"phase": (0.0, float("nan"))}, "phase is"),
        (Sinusoid, {"phase": (0.0, float("inf"))}, "phase is"),
    ],
)
def test_options_that_cannot_be(make: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        make(**options)
