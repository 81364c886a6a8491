"""Configurations: one set of names for the command line, Python and the saved file."""

import json
from typing import Any

import pytest
from small import PAIRS

from innerloop.distributed.config import Config, configure
from innerloop.distributed.names import option_fields, prefixed
from innerloop.distributed.options import COMMAND, read_training
from innerloop.distributed.presets import PRESETS
from innerloop.envs.errors import BadInput
from innerloop.learner.options import options_of


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_configuration_that_survives_its_file(name: str) -> None:
    config = configure(name)
    assert Config.from_json(config.to_json()) == config


def test_options_go_where_they_belong() -> None:
    config = configure("first", arms=3, memory="gru", seed=7, episodes=4)
    assert config.experiment.to_json()["family"] == {"name": "bernoulli-bandit", "arms": 3, "regret": False}
    assert config.experiment.to_json()["algorithm"]["memory"] == "gru"
    assert (config.run.seed, config.experiment.episodes) == (7, 4)
    assert config.run.iterations == configure("first").run.iterations


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("maml", {"max_kl": 0.02, "cg_iterations": 5, "learned_rates": True, "inner_decay": 1}),
        ("promp", {"outer_steps": 3, "kl_penalty": 0.1, "first_order": True, "activation": "tanh"}),
    ],
)
def test_algorithms_that_adapt_by_gradient_survive_the_file_with_all_their_options(
    algorithm: str, options: dict[str, Any]
) -> None:
    config = configure(algorithm=algorithm, family="point-navigation", horizon=7, rollouts=5, episodes=3, **options)
    read = Config.from_json(json.loads(json.dumps(config.to_json())))
    assert read == config
    assert config.experiment.to_json()["algorithm"].items() >= ({"name": algorithm, "rollouts": 5} | options).items()
    assert config.experiment.to_json()["family"] == {"name": "point-navigation", "horizon": 7}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"armz": 3}, "'armz' is not an option"),
        ({"arms": "3"}, "arms is '3'; expected a value of type int"),
        ({"arms": True}, "arms is True; expected a value of type int"),
        ({"episodes": 2.5}, "episodes is 2.5"),
        ({"episodes": 4, "episodes_start": 5}, "episodes_start is 5; expected at most as many as episodes, 4"),
        ({"episodes_start": -1}, "episodes_start is -1; expected at least 0"),
        ({"family": "tabular-mdp", "arms": 3}, "'arms' is not an option of family 'tabular-mdp'"),
        ({"algorithm": "maml", "memory": "gru"}, "'memory' is not an option of family 'bernoulli-bandit' with alg"),
        ({"algorithm": "maml", "rollouts": 1}, "rollouts is 1; expected at least 2"),
        ({"algorithm": "maml", "max_kl": "0.01"}, "max_kl is '0.01'; expected a value of type float"),
        ({"algorithm": "promp", "max_kl": 0.01}, "'max_kl' is not an option"),
        ({"algorithm": "promp", "outer_steps": 0}, "outer_steps is 0; expected at least 1"),
    ],
)
def test_unusable_options_are_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match="expected") as refused:
        configure(**options)
    assert sentence in str(refused.value)


def test_a_curriculum_multiplies_by_the_same_factor_in_equal_times_until_the_middle_of_the_run() -> None:
    config = configure(episodes=40, episodes_start=10, iterations=80)
    assert [config.episodes(iteration, 0.0) for iteration in (0, 10, 20, 30, 40, 60, 80)] == [
        10,
        14,
        20,
        28,
        40,
        40,
        40,
    ]
    config = configure(episodes=40, episodes_start=10, iterations=80, minutes=2.0)
    assert [config.episodes(0, seconds) for seconds in (0, 30, 60, 100)] == [10, 20, 40, 40]
    assert configure(episodes=40, iterations=80).episodes(0, 0.0) == 40


def test_an_option_that_several_have_is_named_with_its_owner() -> None:
    config = configure(family="families:ClashingBandit", arms=3, **{"family.seed": 5, "run.seed": 7, "run.trials": 9})
    assert (config.run.seed, config.run.trials) == (7, 9)
    assert options_of(config.experiment.family) == {"arms": 3, "regret": False, "seed": 5}
    assert Config.from_json(config.to_json()) == config
    for options, message in (
        ({"seed": 1}, "'seed' is an option of the run and of the family; expected run.seed or family.seed."),
        ({"family.trials": 1}, "'family.trials' is not an option of .*; expected one of family.arms, "),
        ({"run.arms": 1}, "'run.arms' is not an option of .*; expected one of run.iterations, "),
    ):
        with pytest.raises(BadInput, match=f"^{message}"):
            configure(family="families:ClashingBandit", **options)


@pytest.mark.parametrize(
    "words", ["--family.seed 5 --run.seed 7 --arms 3", "--family.seed=5 --run.seed=7 --family.arms=3"]
)
def test_on_the_command_line_too(words: str) -> None:
    _, config = read_training(["--family", "families:ClashingBandit", *words.split()])
    assert config.run.seed == 7
    assert options_of(config.experiment.family) == {"arms": 3, "regret": False, "seed": 5}
    with pytest.raises(BadInput, match=r"^'seed' is an option of the run and of the family; expected run.seed or "):
        read_training(["--family", "families:ClashingBandit", "--seed", "3"])


def test_a_prefix_is_allowed_where_it_is_not_needed() -> None:
    _, config = read_training(["--family.arms", "3", "--algorithm.hidden", "8", "--run.trials", "12"])
    assert (config.run.trials, options_of(config.experiment.family)["arms"]) == (12, 3)
    assert options_of(config.experiment.algorithm)["hidden"] == 8


@pytest.mark.parametrize(("family", "algorithm"), PAIRS)
def test_no_two_of_ours_have_an_option_of_one_name(family: str, algorithm: str) -> None:
    assert not prefixed(option_fields(family, algorithm), COMMAND)


def test_tasks_are_not_ordered_by_returns_that_nobody_knows() -> None:
    with pytest.raises(BadInput, match=r"^task_order is 'prioritised'; expected balanced with supervised: "):
        configure(family="sinusoid", algorithm="supervised", tasks=10, task_order="prioritised")


@pytest.mark.parametrize("algorithm", ["supervised", "protonet", "matching", "supervised-maml"])
def test_every_trial_has_something_to_learn_from(algorithm: str) -> None:
    """Also the short ones with which a run begins, and those that are counted in steps."""
    few: dict[str, Any] = {"family": "strokes", "algorithm": algorithm, "ways": 3, "loss_from": 2}
    assert configure(**few, episodes=4, episodes_start=3).episodes(0, 0) == 3
    with pytest.raises(BadInput, match=r"^episodes_start is 2; expected 0, or more than loss_from, 2"):
        configure(**few, episodes=4, episodes_start=2)
    for options, episodes in (({"episodes": 2}, 2), ({"trial_steps": 6}, 2), ({"trial_steps": 1}, 1)):
        experiment = configure(**few, **options).experiment
        with pytest.raises(BadInput, match=f"^loss_from is 2; expected less than {episodes}, the episodes of a trial"):
            experiment.algorithm.build(experiment.problem)
    experiment = configure(**few, trial_steps=7).experiment
    assert experiment.algorithm.build(experiment.problem)


def test_a_saved_file_with_an_unknown_option_is_refused() -> None:
    data = configure("first").to_json()
    data["run"]["speed"] = 11
    with pytest.raises(BadInput, match="'speed' is not an option"):
        Config.from_json(data)
