"""Every option of every command with values that nobody means: one sentence, status 2, and nothing on the disk."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from saved_runs import NOWHERE, Ended, tree
from small import somewhere

from innerloop.distributed.commands.evaluate import Evaluate
from innerloop.distributed.commands.plot import Plot
from innerloop.distributed.commands.status import StatusOptions
from innerloop.distributed.config import configure
from innerloop.distributed.options import train_options
from innerloop.distributed.papers.reproduce import Reproduce
from innerloop.envs.families import FAMILIES
from innerloop.learner.algorithms import ALGORITHMS

VALUES = ("0", "-1", "nan", "inf", "1e30", str(2**64), "text")
SLIPS = ("", "a\0b", "\udcff")
"""What no option takes."""
"""All that is accepted of these is refused for the address of no cluster, which is looked at last."""
TRAIN = {
    "run": ("bernoulli-bandit", "rl2"),
    **{name: (somewhere(name)["family"], name) for name in ALGORITHMS},
    **{name: (name, "rl2") for name in FAMILIES},
}
"""Whose options, and with which family and algorithm they are tried."""


def options_of_train(owner: str) -> Iterator[str]:
    family, algorithm = TRAIN[owner]
    kinds = {
        field.name: field.default
        for field in dataclasses.fields(train_options(configure(family=family, algorithm=algorithm)))
    }
    shares = {
        "run": kinds.pop("run"),
        family: kinds.pop("family_options", None),
        algorithm: kinds.pop("algorithm_options", None),
    }
    if owner == "run":
        yield from kinds
    if shares[owner] is not None:
        yield from (field.name for field in dataclasses.fields(shares[owner]))


def flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def refused(ended: Ended, words: list[str]) -> None:
    assert ended.status == 2, (words, ended)
    assert ended.err.startswith("innerloop: "), (words, ended)
    assert ended.err.count("\n") == 1, (words, ended)
    assert "Traceback" not in ended.err
    assert "unexpected" not in ended.err
    assert len(ended.err) < 1_500, (words, ended)
    assert not ended.out, (words, ended)


@pytest.mark.parametrize("owner", TRAIN)
def test_every_option_of_train(
    owner: str, command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    family, algorithm = TRAIN[owner]
    base = {"--family": family, "--algorithm": algorithm, "--address": NOWHERE, "--out": "run"}
    options = [*options_of_train(owner)]
    for option in options:
        others = [f"{name}={value}" for name, value in base.items() if name != flag(option)]
        for value in (*VALUES, *SLIPS):
            words = [*others, f"{flag(option)}={value}"]
            ended = command("train", *words)
            refused(ended, words)
            assert value not in SLIPS or flag(option) in ended.err, (words, ended)
        words = [*others, flag(option), "1", flag(option), "1"]
        ended = command("train", *words)
        refused(ended, words)
        assert "twice" in ended.err
    assert options or owner not in ("run", *ALGORITHMS)
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "base"),
    [
        ("evaluate", Evaluate, ["nowhere"]),
        ("plot", Plot, ["nowhere"]),
        ("status", StatusOptions, ["nowhere"]),
        ("reproduce", Reproduce, ["rl2-bandits", f"--address={NOWHERE}", "--parallel=1"]),
    ],
)
def test_every_option_of_the_other_commands(
    name: str,
    kind: type,
    base: list[str],
    command: Callable[..., Ended],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    positional = {"run", "runs", "table"}
    for field in dataclasses.fields(kind):
        if field.name in positional:
            for value in (*VALUES, *SLIPS):
                refused(command(name, value), [name, value])
            continue
        others = [word for word in base if not word.startswith(flag(field.name))]
        for value in (*VALUES, *SLIPS):
            words = [*others, f"{flag(field.name)}={value}"]
            refused(command(name, *words), words)
        words = [*others, flag(field.name), "1", flag(field.name), "1"]
        refused(command(name, *words), words)
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "point-maml", "--algorithm", "rl2"], ["preset is 'point-maml'", "rollouts", "'rl2'"]),
        (["--preset", "first", "--family", "tabular-mdp"], ["preset is 'first'", "arms", "'tabular-mdp'"]),
        (["--replay-mb", "9"], ["replay_mb is 9", "replay"]),
        (["--replay-mb", "2048"], ["replay_mb is 2048", "replay"]),
        (["--replay-shards", "2"], ["replay_shards is 2", "replay"]),
        (["--max-staleness", "1"], ["max_staleness is 1", "overlapped"]),
        (["--task-order", "prioritised"], ["task_order is 'prioritised'", "tasks"]),
        (["--dashboard"], ["dashboard is True", "address"]),
        (["--evaluation-tasks", "0", "--evaluation-episodes", "2"], ["evaluation_episodes is 2", "evaluation_tasks"]),
        (["--device", "cuda", "--learner-threads", "2"], ["learner_threads is 2", "CPU"]),
        (["--trust-plugins"], ["trust_plugins", "--resume"]),
        (["--resume", ""], ["--resume is ''", "a value"]),
        (["--seed", "1", "--seed=2"], ["--seed", "twice"]),
        (["--learning-rate", "1", "--learning_rate", "2"], ["--learning-rate", "twice"]),
        (["--trials", "10000000000000"], ["trials is 10000000000000", "memory"]),
        (["--episodes", "200000000"], ["episodes is 200000000", "100,000,000 steps"]),
        (["--arms", "1000000000"], ["memory"]),
        (["--hidden", "100000"], ["the model would take", "memory"]),
        (["--family", "tabular-mdp", "--states", "1000000"], ["the model would take", "memory"]),
        (["--algorithm", "pearl", "--family", "point-navigation", "--replay-mb", "100000000"], ["replay_mb", "memory"]),
        (["--memory", "transformer,layers=1000000000"], ["layers", "1000000000"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_options_without_effect_or_without_measure(
    words: list[str], said: list[str], command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = [] if "--dashboard" not in words else [f"--address={NOWHERE}"]
    ended = command("train", *words, *address)
    refused(ended, words)
    for part in said:
        assert part in ended.err
    assert not os.listdir(tmp_path)
