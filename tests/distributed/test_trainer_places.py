"""Where a run leaves its files, and what lies there already."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import final, replaying, same_bits, small

from innerloop.actors.agent import Agent
from innerloop.distributed.trainer import resume, train
from innerloop.envs.errors import BadInput
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.learner import weights_of

pytestmark = pytest.mark.usefixtures("own_ray")


def test_a_directory_that_holds_a_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    train(small(iterations=1), tmp_path / "run")
    before = final(tmp_path / "run")
    with pytest.raises(BadInput, match="holds a run"):
        train(small(iterations=1, seed=1), tmp_path / "run")
    assert same_bits(before, final(tmp_path / "run"))
    train(small(iterations=1, seed=1), tmp_path / "run", overwrite=True)
    assert not same_bits(before, final(tmp_path / "run"))


def test_what_another_program_left_in_a_directory_is_not_deleted_unasked(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").write_text("somebody's")
    with pytest.raises(BadInput, match="holds a run"):
        train(small(iterations=1), tmp_path)
    assert (tmp_path / "tensorboard" / "events").read_text() == "somebody's"


def test_checkpoints_go_to_any_url_and_resume_finds_them(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/elsewhere"
    train(small(iterations=2, checkpoints=place), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    agent = Agent.load(str(tmp_path / "run"))
    agent.begin_trial(2)
    assert agent.act(np.zeros(2, np.int64), np.zeros(2), np.zeros(2, np.bool_)).shape == (2,)
    resume(tmp_path / "run")
    with pytest.raises(BadInput, match="another run"):
        train(small(iterations=2, checkpoints=place), tmp_path / "other")


def test_a_run_can_start_from_the_weights_of_another(tmp_path: Path) -> None:
    train(small(iterations=1), tmp_path / "first")
    still = {"learning_rate": 1e-12, "learning_rate_end": 1e-12, "iterations": 1, "episodes": 7}
    train(small(start_from=str(tmp_path / "first"), **still), tmp_path / "second")
    train(small(**still), tmp_path / "scratch")
    memories = []
    for name in ("first", "second", "scratch"):  # PopArt moves the value's head, whatever the step size
        weights = weights_of(final(tmp_path / name))
        memories.append(np.concatenate([weights[key].ravel() for key in sorted(weights) if key.startswith("memory.")]))
    np.testing.assert_allclose(memories[0], memories[1], atol=1e-6)
    assert np.abs(memories[0] - memories[2]).max() > 1e-3
    assert Checkpoints(str(tmp_path / "second" / "checkpoints")).newest().numbers["version"] == 1
    for config, sentence in (
        (small(start_from=str(tmp_path / "nowhere")), "expected the directory of a run"),
        (small(start_from=str(tmp_path / "first"), hidden=8), "of another family, memory or width"),
        (replaying(start_from=str(tmp_path / "first")), "expected none with an algorithm that learns from replay"),
    ):
        with pytest.raises(BadInput, match=sentence):
            train(config, tmp_path / "refused")
        assert not (tmp_path / "refused").exists()


def test_a_checkpoint_of_another_shape_is_refused_in_one_sentence(tmp_path: Path) -> None:
    train(small(iterations=1), tmp_path / "run")
    with pytest.raises(BadInput, match="shape") as refused:
        resume(tmp_path / "run", small(iterations=2, hidden=8))
    assert "\n" not in str(refused.value)
