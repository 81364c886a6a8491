"""The tasks of the MuJoCo families: what they are drawn from, and that they are what the bodies are made of."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from innerloop.envs.api import Split
from innerloop.envs.errors import BadInput
from innerloop.envs.mujoco import (
    AntDir,
    AntGoal,
    HalfCheetahDir,
    HalfCheetahVel,
    HumanoidDir,
    Walker2DParams,
)
from innerloop.envs.physics import load, vary


def test_walkers_differ_in_the_numbers_of_their_task_and_in_what_follows_from_them() -> None:
    base = load("walker2d_v5.xml")
    tasks = Walker2DParams().sample(np.random.default_rng(0), 5, "train")
    for row, model in enumerate(vary(base, tasks)):
        for array in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
            np.testing.assert_array_equal(getattr(model, array), getattr(base, array) * tasks[array][row])
        assert model.body_subtreemass[1] == pytest.approx(model.body_mass.sum())
        assert model.body_subtreemass[1] != pytest.approx(base.body_subtreemass[1])
        assert (model.dof_invweight0 != base.dof_invweight0).all()
        np.testing.assert_array_equal(model.jnt_range, base.jnt_range)


def test_walkers_factors_are_powers_of_a_uniform_exponent() -> None:
    tasks = Walker2DParams(train_tasks=400).sample(np.random.default_rng(0), 400, "train")
    for name, base in (("body_mass", 1.5), ("body_inertia", 1.5), ("geom_friction", 1.5), ("dof_damping", 1.3)):
        exponent = np.unique(np.log(tasks[name]) / np.log(base))
        assert stats.kstest(exponent, "uniform", args=(-3, 6)).pvalue > 1e-3


def test_walkers_are_two_fixed_sets() -> None:
    def members(family: Walker2DParams, split: Split, seed: int) -> set[bytes]:
        return {row.tobytes() for row in family.sample(np.random.default_rng(seed), 2000, split)["body_mass"]}

    train, test = members(Walker2DParams(), "train", 0), members(Walker2DParams(), "test", 0)
    assert (len(train), len(test)) == (40, 10)
    assert not train & test
    assert members(Walker2DParams(), "train", 1) == train
    assert members(Walker2DParams(train_tasks=5), "train", 1) < train
    assert members(Walker2DParams(train_tasks=50, test_tasks=20), "test", 1) > test


def test_tasks_are_drawn_from_the_papers_distributions() -> None:
    rng, many = np.random.default_rng(0), 20_000
    velocity = HalfCheetahVel(slowest=1.0, fastest=2.0).sample(rng, many, "train")["velocity"]
    assert stats.kstest(velocity, "uniform", args=(1, 1)).pvalue > 1e-3
    direction = HalfCheetahDir().sample(rng, many, "test")["direction"]
    assert set(direction) == {-1.0, 1.0}
    assert abs(direction.mean()) < 4 / np.sqrt(many)
    for family in (AntDir(), HumanoidDir()):
        assert stats.kstest(family.sample(rng, many, "train")["angle"], "uniform", args=(0, 2 * np.pi)).pvalue > 1e-3
    x, y = AntGoal().sample(rng, many, "train")["goal"].T
    assert stats.kstest((x**2 + y**2) / 9, "uniform").pvalue > 1e-3, "uniform on the disc"
    assert stats.kstest(np.arctan2(y, x), "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AntGoal(horizon=0), "^horizon is 0; expected at least 1.$"),
        (lambda: HalfCheetahVel(horizon=0), "^horizon is 0; expected at least 1.$"),
        (lambda: HalfCheetahVel(slowest=float("nan")), "^slowest is nan; expected a finite number.$"),
        (lambda: HalfCheetahVel(slowest=3.0), r"^fastest is 3.0; expected a finite number above slowest \(3.0\).$"),
        (lambda: Walker2DParams(test_tasks=0), "^test_tasks is 0; expected at least 1.$"),
    ],
)
def test_options_out_of_range_are_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()
