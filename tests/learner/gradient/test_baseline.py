"""The linear baseline against dense solvers, and advantages against the sum in the paper, task by task."""

import numpy as np
import pytest
import torch
from torch import Tensor

from innerloop.learner.gradient.baseline import RIDGE, by_task, features, fit, task_advantages

WIDTH, LENGTHS = 3, (9, 4, 1, 6, 6, 2)  # two tasks
HORIZON, COLUMNS = max(LENGTHS), len(LENGTHS)


def ridge_regression(inputs: np.ndarray, target: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """As least squares with one row more for each coefficient."""
    size = inputs.shape[1]
    rows = np.concatenate([inputs, np.sqrt(ridge) * np.eye(size)])
    return np.linalg.lstsq(rows, np.concatenate([target, np.zeros(size)]), rcond=None)[0]


def episodes(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, rewards and which of them count, of one episode per column, of `LENGTHS` steps; rubbish behind."""
    rng = np.random.default_rng(seed)
    valid = np.arange(HORIZON)[:, None] < np.array(LENGTHS)
    x, reward = rng.standard_normal((HORIZON, COLUMNS, 2)), rng.standard_normal((HORIZON, COLUMNS))
    x[~valid], reward[~valid] = 1e3, 1e6
    return torch.from_numpy(x), torch.from_numpy(reward), torch.from_numpy(valid)


def features_slowly(o: np.ndarray, t: int) -> list[float]:
    return [*o, *o**2, t / 100, (t / 100) ** 2, (t / 100) ** 3, 1.0]


def advantages_slowly(
    x: np.ndarray, reward: np.ndarray, discount: float, trace: float
) -> tuple[dict[tuple[int, int], float], list[float]]:
    """By step and column, normalised per task; and the share of the variance that each task's baseline explains."""
    found, explained = {}, []
    for first in range(0, COLUMNS, WIDTH):
        steps = [(t, column) for column in range(first, first + WIDTH) for t in range(LENGTHS[column])]
        target = np.array(
            [sum(discount**i * reward[t + i, c] for i in range(LENGTHS[c] - t)) for t, c in steps]
        )  # the return to come
        inputs = np.array([features_slowly(x[t, c], t) for t, c in steps])
        value = dict(zip(steps, inputs @ ridge_regression(inputs, target), strict=True))
        raw = []
        for t, c in steps:
            delta = [
                reward[s, c] + discount * value.get((s + 1, c), 0.0) - value[s, c] for s in range(t, LENGTHS[c])
            ]  # nothing follows an episode's end
            raw.append(sum((discount * trace) ** i * each for i, each in enumerate(delta)))
        normalised = (np.array(raw) - np.mean(raw)) / np.std(raw)
        found |= dict(zip(steps, normalised, strict=True))
        explained.append(1 - np.var(target - np.array([value[s] for s in steps])) / np.var(target))
    return found, explained


def test_features_are_the_observation_its_square_the_time_and_a_constant() -> None:
    x = torch.randn(250, 3, 4, dtype=torch.float64)
    found = features(x)
    assert found.shape == (250, 3, 2 * 4 + 4)
    for t in (0, 1, 100, 249):
        for column in range(3):
            np.testing.assert_allclose(found[t, column], features_slowly(x[t, column].numpy(), t), rtol=1e-12)


def test_columns_of_a_task_become_its_rows_step_by_step() -> None:
    columns = torch.arange(4 * 6).reshape(4, 6)
    rows = by_task(columns, rollouts_per_task=3)
    assert rows.shape == (2, 12)
    for task in range(2):
        assert rows[task].tolist() == [6 * t + column for t in range(4) for column in range(3 * task, 3 * task + 3)]


def test_the_fit_of_every_task_is_its_own_ridge_regression() -> None:
    """Rows that do not count are rubbish, and each task has as many of them as it likes."""
    rng = np.random.default_rng(0)
    inputs, target = rng.standard_normal((5, 40, 6)), rng.standard_normal((5, 40))
    valid = rng.random((5, 40)) < np.array([1.0, 0.8, 0.6, 0.4, 0.05])[:, None]  # the last has too few for a fit
    inputs[~valid], target[~valid] = 1e6, -1e6
    found = fit(*(torch.from_numpy(array) for array in (inputs, target, valid)))
    assert found.shape == (5, 6)
    assert 0 < valid[-1].sum() < 6
    for task in range(5):
        expected = ridge_regression(inputs[task, valid[task]], target[task, valid[task]])
        np.testing.assert_allclose(found[task], expected, rtol=1e-6, atol=1e-6)


def test_with_little_noise_the_fit_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    inputs, coefficients = rng.standard_normal((1, 400, 5)), rng.standard_normal(5)
    target = inputs @ coefficients + 1e-3 * rng.standard_normal((1, 400))
    found = fit(torch.from_numpy(inputs), torch.from_numpy(target), torch.ones(1, 400, dtype=torch.bool))
    np.testing.assert_allclose(found[0], np.linalg.lstsq(inputs[0], target[0], rcond=None)[0], atol=1e-6)
    np.testing.assert_allclose(found[0], coefficients, atol=1e-3)


def test_the_ridge_grows_for_the_task_whose_equations_cannot_be_solved_and_for_no_other() -> None:
    """Two columns of 2^24 each: beside the sum of their squares, 2^50, a ridge of 1e-5 is lost in rounding."""
    rng = np.random.default_rng(0)
    inputs, target = rng.standard_normal((2, 4, 2)), rng.standard_normal((2, 4))
    inputs[1] = 2.0**24
    square = inputs[1].T @ inputs[1]
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(square + RIDGE * np.eye(2))
    found = fit(torch.from_numpy(inputs), torch.from_numpy(target), torch.ones(2, 4, dtype=torch.bool))
    np.testing.assert_allclose(found[0], ridge_regression(inputs[0], target[0]), rtol=1e-9)
    assert torch.isfinite(found[1]).all()
    np.testing.assert_allclose(inputs[1] @ found[1].numpy(), np.full(4, target[1].mean()), rtol=1e-3)


@pytest.mark.parametrize("trace", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("discount", [0.99, 1.0, 0.5])
def test_advantages_are_the_sum_in_the_paper_task_by_task(discount: float, trace: float) -> None:
    x, reward, valid = episodes()
    found, explained = task_advantages(x, reward, valid, rollouts_per_task=WIDTH, discount=discount, trace=trace)
    expected, expected_explained = advantages_slowly(x.numpy(), reward.numpy(), discount, trace)
    assert found.shape == (COLUMNS // WIDTH, HORIZON * WIDTH)
    for t in range(HORIZON):
        for column in range(COLUMNS):
            task, row = divmod(column, WIDTH)
            given = float(found[task, t * WIDTH + row])
            assert given == pytest.approx(expected.get((t, column), 0.0), rel=1e-6, abs=1e-6), (t, column)
    np.testing.assert_allclose(explained, expected_explained, rtol=1e-6)
    assert (explained > 0.1).all()


def test_advantages_of_every_task_have_mean_0_and_deviation_1() -> None:
    x, reward, valid = episodes()
    reward[:, :WIDTH] *= 1000  # one task's rewards do not drown the other's
    found, _ = task_advantages(x, reward, valid, rollouts_per_task=WIDTH, discount=0.99, trace=1.0)
    for task, counted in zip(found, by_task(valid, WIDTH), strict=True):
        assert float(task[counted].mean()) == pytest.approx(0, abs=1e-9)
        assert float(task[counted].std(correction=0)) == pytest.approx(1, rel=1e-6)
        assert (task[~counted] == 0).all()


def test_float32_will_do() -> None:
    x, reward, valid = episodes()
    exact, _ = task_advantages(x, reward, valid, rollouts_per_task=WIDTH, discount=0.99, trace=1.0)
    found, _ = task_advantages(x.float(), reward.float(), valid, rollouts_per_task=WIDTH, discount=0.99, trace=1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4)


def test_one_task_does_not_depend_on_another() -> None:
    x, reward, valid = episodes()
    both, _ = task_advantages(x, reward, valid, rollouts_per_task=WIDTH, discount=0.99, trace=0.9)
    for task in range(COLUMNS // WIDTH):
        own = slice(WIDTH * task, WIDTH * (task + 1))
        alone, _ = task_advantages(
            x[:, own], reward[:, own], valid[:, own], rollouts_per_task=WIDTH, discount=0.99, trace=0.9
        )
        torch.testing.assert_close(both[task], alone[0])


def test_where_nothing_was_ever_earned_there_is_nothing_to_prefer() -> None:
    x, reward, valid = episodes()
    found, explained = task_advantages(x, 0 * reward, valid, rollouts_per_task=WIDTH, discount=0.99, trace=1.0)
    assert (found == 0).all()
    assert torch.isfinite(explained).all()
