"""Evaluation on other tasks than those of training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innerloop.actors.agent import Agent
from innerloop.distributed.cli import main
from innerloop.distributed.config import configure
from innerloop.distributed.overrides import split_overrides
from innerloop.envs.errors import BadInput
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.learner import Learner

SINUSOID = {"family": "sinusoid", "algorithm": "supervised", "hidden": 8}
STROKES = {"family": "strokes", "algorithm": "protonet", "encoder": "cnn,width=8,channels=2", "ways": 3, "shots": 1}


def saved(place: Path, **options: Any) -> str:
    """A run's first checkpoint."""
    config = configure(**options, episodes=3)
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    arrays, numbers = learner.state()
    Checkpoints(str(place)).save(arrays, numbers | {"version": 1}, config.to_json())
    return str(place)


@pytest.mark.parametrize(
    ("words", "others", "values"),
    [
        (["--family.amplitude", "5,10"], [], {"family": {"amplitude": [5, 10]}}),
        (["--family.amplitude", "5", "10", "--json"], ["--json"], {"family": {"amplitude": [5, 10]}}),
        (["run", "--family.ways=7", "--tasks", "3"], ["run", "--tasks", "3"], {"family": {"ways": 7}}),
        (["run", "--family.within-alphabet", "true"], ["run"], {"family": {"within_alphabet": True}}),
        (["--family", "a:b", "--family.split", "lake"], ["--family", "a:b"], {"family": {"split": "lake"}}),
        (["--algorithm.evaluation-steps", "10"], [], {"algorithm": {"evaluation_steps": 10}}),
        (["--family.data", "/a,b.npz"], [], {"family": {"data": "/a,b.npz"}}),
    ],
)
def test_options_of_the_family_are_told_from_the_others(
    words: list[str], others: list[str], values: dict[str, Any]
) -> None:
    assert split_overrides(words) == (others, {"family": {}, "algorithm": {}} | values)


def test_an_agent_is_evaluated_outside_of_its_distribution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path, **SINUSOID)
    errors = {}
    for amplitude in ("0.1,5", "5,10"):
        words = ["--tasks", "300", "--json", "--csv", str(tmp_path / "a.csv"), "--family.amplitude", amplitude]
        main(["evaluate", run, *words])
        result = json.loads(capsys.readouterr().out)
        errors[amplitude] = -result["return"]["mean"]
        low, high = map(float, amplitude.split(","))
        drawn = np.genfromtxt(tmp_path / "a.csv", delimiter=",", names=True)["amplitude"]
        assert ((drawn >= low) & (drawn <= high)).all()
        assert np.ptp(drawn) > 0.9 * (high - low)
        assert result["family_options"] == {"amplitude": [low, high], "phase": [0.0, np.pi], "shots": 0}
    assert errors["5,10"] > 4 * errors["0.1,5"]  # of an agent that knows nothing: the mean square of the amplitude


def test_an_embedding_classifies_among_other_numbers_of_classes(tmp_path: Path) -> None:
    agent = Agent.load(saved(tmp_path, **STROKES), family={"ways": 6})
    agent.begin_trial(1)
    drawing, nothing = np.zeros((1, 28, 28, 1), np.uint8), (np.zeros(1), np.zeros(1, np.bool_))
    assert agent.act({"answer": np.array([6]), "example": drawing}, *nothing)[0] in range(6)


@pytest.mark.parametrize(
    ("options", "words", "sentence"),
    [
        (SINUSOID, ["--family.amplitude"], "--family.amplitude has no value; expected one."),
        (SINUSOID, ["--family.amplitude", "10,5"], "amplitude is (10.0, 5.0); expected two numbers"),
        (SINUSOID, ["--family.amplitude", "NaN,5"], "--family.amplitude is 'NaN'; expected a finite number"),
        (SINUSOID, ["--family.amplitude", "5"], "amplitude is 5; expected a value of type tuple[float, float]"),
        (SINUSOID, ["--family.amplitud", "5,6"], "Did you mean 'amplitude'?"),
        (STROKES, ["--family.ways", "many"], "ways is 'many'; expected a value of type int"),
        (STROKES | {"algorithm": "rl2", "encoder": "cnn"}, ["--family.ways", "6"], "another family, memory or width"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    options: dict[str, Any], words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path, **options)
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", run, *words])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_another_family_is_no_option_of_it(tmp_path: Path) -> None:
    run = saved(tmp_path, **SINUSOID)
    with pytest.raises(BadInput, match="expected options of the run's own family"):
        Agent.load(run, family={"name": "strokes"})
