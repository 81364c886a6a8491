"""The nearest neighbour: by hand, and how good it is."""

from pathlib import Path

import numpy as np
import pytest

from innerloop.actors.baselines import baselines
from innerloop.actors.baselines.neighbour import nearest_neighbour
from innerloop.actors.evaluate import play_tasks
from innerloop.actors.rollout import play
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.fewshot.omniglot import Omniglot
from innerloop.envs.fewshot.sinusoid import Sinusoid
from innerloop.envs.fewshot.strokes import Strokes
from innerloop.envs.spaces import unpack
from innerloop.envs.trials import Trials

DATA = Path(__file__).parents[3] / "shared" / "data" / "omniglot_28_box.npz"
FAMILIES = {"numbers": Sinusoid(shots=3), "classes": Strokes(ways=3, shots=2)}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_it_answers_as_it_was_told_of_the_nearest(family: Sinusoid | Strokes) -> None:
    agent = nearest_neighbour(family)
    assert agent is not None
    tasks = family.sample(np.random.default_rng(0), 5, "test")
    found = play(agent, Trials(family, tasks, 5, np.random.default_rng(1)), np.random.default_rng(2))
    example = unpack(family.observation_space, found.observation)["example"].astype(float)
    told = family.horizon * family.shots
    for t in range(1, len(found.action)):
        for row in range(5):
            distances = [np.square(example[i, row] - example[t, row]).sum() for i in range(min(t, told))]
            nearest = int(np.argmin(distances))
            np.testing.assert_array_equal(found.action[t, row], found.privileged["answer"][nearest, row])


def test_families_of_mdps_have_none() -> None:
    assert "Nearest neighbour" not in baselines(BernoulliBandit(arms=2), 3)
    assert {*baselines(Strokes(), 3)} == {"Random", "Nearest neighbour"}


@pytest.mark.skipif(not DATA.exists(), reason="Omniglot is not beside this checkout")
def test_on_omniglot_it_is_as_good_as_was_published() -> None:
    """Five classes and one drawing each: 41.7 % of the answers are right."""
    family = Omniglot(data=str(DATA), ways=5, shots=1)
    agent = nearest_neighbour(family)
    assert agent is not None
    right = play_tasks(agent, family, 4, tasks=1_000, seed=0)[:, 1:].mean() / 5
    assert 0.38 < right < 0.50
