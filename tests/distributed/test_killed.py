"""Drivers killed at a moment that they do not choose, and `innerloop train --resume`."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import begin, wait_for_lines
from test_trainer import final, same_bits

from innerloop.distributed.cli import main
from innerloop.distributed.runs.lines import read_lines
from innerloop.learner.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("own_ray")

COUNTERS = "env_steps trials seconds dropped_stale dropped_lost restarts lost_trials diverged checkpoints_failed"
PEARL = (
    "--family point-navigation --horizon 5 --algorithm pearl --hidden 8 --layers 1 --context-hidden 8 --context 4 "
    "--steps-per-task 8 --tasks-per-batch 3 --warm-up 60 --updates-per-step 0.15 --episodes 2 --trials 6 "
    "--tasks 5 --parts 2 --iterations 30 --checkpoint-every 3 --learner-threads 1 --evaluation-tasks 0"
)
OVERLAPPED = (
    "--mode overlapped --max-staleness 2 --trials 64 --parts 4 --episodes 5 --hidden 16 --embedding 0 "
    "--iterations 100000 --checkpoint-every 3 --learner-threads 1 --evaluation-tasks 0"
)


def kill_at_random(out: Path, seed: int, *arguments: str) -> int:
    """Begin a run and kill its driver at a moment after its first checkpoint; returns the iterations in its metrics."""
    rng = np.random.default_rng(seed)
    with begin("train", *arguments, "--out", str(out)) as process:
        wait_for_lines(out / "metrics.jsonl", 4 + int(rng.integers(8)), process)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.wait()
    return len(read_lines(out / "metrics.jsonl"))


def lines_of(out: Path, iterations: int) -> list[dict[str, Any]]:
    """The metrics of a run that has ended: every line whole, one for each iteration, with counters that never fall."""
    lines = read_lines(out / "metrics.jsonl")
    assert len(lines) == len((out / "metrics.jsonl").read_text().splitlines())
    assert [line["iteration"] for line in lines] == [*range(1, iterations + 1)]
    for counter in COUNTERS.split():
        values = [line[counter] for line in lines]
        assert values == sorted(values), counter
    return lines


def test_a_killed_run_that_replays_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path: Path) -> None:
    reached = kill_at_random(tmp_path / "killed", 1, *PEARL.split())
    assert 3 <= reached < 30
    saved = Checkpoints(str(tmp_path / "killed" / "checkpoints")).newest()
    assert saved.numbers["version"] <= reached
    main(["train", "--resume", str(tmp_path / "killed")])
    main(["train", *PEARL.split(), "--out", str(tmp_path / "whole")])
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "killed"))
    whole, killed = lines_of(tmp_path / "whole", 30), lines_of(tmp_path / "killed", 30)
    clocks = {name for name in whole[0] if "second" in name or name.endswith("per_s") or name.startswith("actors_")}
    for a, b in zip(whole, killed, strict=True):
        assert {k: v for k, v in a.items() if k not in clocks} == {k: v for k, v in b.items() if k not in clocks}
    assert killed[-1]["replay_trials"] == 6 * 30
    assert sum(line["gradient_steps"] for line in killed) > 0


def test_a_killed_overlapped_run_goes_on_to_its_last_iteration(tmp_path: Path) -> None:
    reached = kill_at_random(tmp_path / "run", 2, *OVERLAPPED.split())
    before = read_lines(tmp_path / "run" / "metrics.jsonl")
    saved = int(Checkpoints(str(tmp_path / "run" / "checkpoints")).newest().numbers["version"])
    assert 3 <= saved <= reached
    main(["train", "--resume", str(tmp_path / "run"), "--iterations", str(reached + 10)])
    lines = lines_of(tmp_path / "run", reached + 10)
    assert lines[:saved] == before[:saved]  # kept as they were; what came after the checkpoint is played again
    assert all(line["trials"] == 64 * line["iteration"] for line in lines)
    assert all(line["env_steps"] == 5 * line["trials"] for line in lines)
    assert all(line["staleness_max"] <= 2 for line in lines)
    assert any(line["staleness"] > 0 for line in lines[saved:])
