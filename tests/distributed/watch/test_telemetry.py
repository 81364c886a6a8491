"""What a run tells of an iteration: the names, the sums, the cost."""

import json
import re
import shutil
import statistics as middle
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innerloop.distributed.cli import main
from innerloop.distributed.config import configure
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.watch.entries import (
    COUNTERS,
    EVALUATED,
    GAUGES,
    by_episode,
    held_out_of,
    statistics,
)
from innerloop.distributed.watch.status import details, of_directory
from innerloop.distributed.watch.status_file import StatusFile
from innerloop.distributed.watch.telemetry import Telemetry, increases
from innerloop.learner.episodes import episode_entries

KEPT = Path(__file__).parents[3] / "benchmarks" / "results" / "first"
LINES = read_lines(KEPT / "metrics.jsonl")


@pytest.mark.parametrize(
    ("episodes", "shown"), [(1, [1]), (4, [1, 2, 3, 4]), (100, [1, 12, 23, 34, 45, 56, 67, 78, 89, 100])]
)
def test_returns_by_episode_are_of_at_most_ten_with_the_first_and_the_last(episodes: int, shown: list[int]) -> None:
    returns = np.arange(1, episodes + 1) * 0.5
    assert by_episode({"return": 3.0} | episode_entries(returns)) == {episode: episode * 0.5 for episode in shown}


def test_what_the_algorithm_says_is_what_the_trainer_does_not() -> None:
    expected = {"loss", "policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient_norm"}
    assert set(statistics(LINES[0] | episode_entries(np.ones(5)))) == expected | {"explained_variance", "learning_rate"}


def totals(lines: list[dict[str, Any]], before: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in lines:
        for metric, more in increases(line, before):
            found[metric.name + metric.label] = found.get(metric.name + metric.label, 0) + more
        before = before | line
    return found


def test_counters_add_up_to_what_the_run_did_also_when_it_goes_on() -> None:
    whole, second = totals(LINES, {}), totals(LINES[50:], LINES[49])
    assert whole["env_steps_total"] == LINES[-1]["env_steps"]
    assert whole["updates_total"] == len(LINES)
    waited = sum(line["seconds_waiting"] for line in LINES)
    assert whole["phase_seconds_totalphase=wait"] == pytest.approx(waited)
    assert second["env_steps_total"] == LINES[-1]["env_steps"] - LINES[49]["env_steps"]
    assert second["updates_total"] == len(LINES) - 50
    assert "drops_totalcause=stale" not in whole  # nothing was dropped


def test_names_and_units_are_prometheus_own() -> None:
    for metric in COUNTERS:
        assert metric.name.endswith("_total")
    for metric in GAUGES + EVALUATED:
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
    for metric in COUNTERS + GAUGES + EVALUATED:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+|iteration", metric.name)
        # https://prometheus.io/docs/practices/naming: base units, whole words
        assert not set(metric.name.split("_")) & {"ms", "milliseconds", "mb", "megabytes", "percent", "sec", "s"}
        assert metric.entry.startswith("seconds_") <= ("_seconds" in metric.name)
        assert ("bytes" in metric.entry) <= metric.name.endswith("_bytes")
        assert metric.about.endswith(".")


@pytest.mark.usefixtures("own_ray")
def test_telling_an_iteration_takes_less_than_a_millisecond() -> None:
    config = configure("first")
    config = replace(config, run=replace(config.run, name="cost"))
    telemetry, status_file = Telemetry(config, {}), StatusFile(config)
    line = LINES[0] | episode_entries(np.ones(100))
    seconds = []
    try:
        for iteration in range(1, 201):
            line = line | {"iteration": iteration, "env_steps": 1_000 * iteration, "trials": 100 * iteration}
            start = time.perf_counter()
            telemetry.record(line)
            status_file.write(line)
            seconds.append(time.perf_counter() - start)
    finally:
        telemetry.close()
        status_file.close()
    print(f"{1e3 * middle.median(seconds):.3f} ms")
    assert middle.median(seconds) < 1e-3


def run_of(lines: int, directory: Path) -> Path:
    """The kept run, after so many iterations."""
    shutil.copytree(KEPT, directory)
    text = (KEPT / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join(text[:lines]))
    config = json.loads((directory / "config.json").read_text())
    config["run"]["name"] = "kept"
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_status_of_a_directory_says_what_the_last_line_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(120, tmp_path / "run")
    main(["status", str(run), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["line"]) == ("kept", LINES[119])
    main(["status", str(run)])
    said = " ".join(capsys.readouterr().out.split())
    for text in (
        "kept: rl2 on bernoulli-bandit, synchronous",
        "120 of 200",
        "left; heard of",
        f"{LINES[119]['return']:.3f}",
    ):
        assert text in said
    (run / "metrics.jsonl").write_text("")
    main(["status", str(run)])
    assert "0 of 200, heard of" in " ".join(capsys.readouterr().out.split())
    assert of_directory(run).line == {}
    assert details(of_directory(run)).row_count == 2


def test_status_tells_the_newest_evaluation_on_held_out_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(3, tmp_path / "run")
    lines = read_lines(run / "metrics.jsonl")
    for line, value in zip(lines, (6.25, 6.5), strict=False):
        names = ("iteration", float(line["iteration"])), ("return", value), ("error", 0.0625), ("first_episode", 0.5)
        line |= {f"held_out_{name}": each for name, each in (*names, ("last_episode", 0.75))}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    main(["status", str(run)])
    said = " ".join(capsys.readouterr().out.split())
    assert "held out 6.500 a trial, standard error 0.062; first episode 0.500, last 0.750; of iteration 2" in said
    assert "3 of 200" in said


def test_an_evaluation_is_told_until_there_is_another_and_never_before_the_first() -> None:
    assert not any(metric.entry.startswith("held_out_") for metric in GAUGES)
    assert statistics(LINES[0] | {"held_out_return": 1.0, "held_out_measure_success": 0.5}) == statistics(LINES[0])
    assert held_out_of(LINES[0] | {"held_out_return": 1.0}) == {"held_out_return": 1.0}


def test_status_can_stay_until_the_run_has_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(199, tmp_path / "run")

    def finish() -> None:
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(LINES[199]) + "\n")

    later = threading.Timer(0.5, finish)
    later.start()
    main(["status", str(run), "--watch"])
    later.join()
    assert "200 of 200" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "run is ''; expected the directory of a run, or --address of a cluster."),
        (["nowhere"], "run is 'nowhere'; expected the directory of a run"),
        (["--address", "auto"], "address is 'auto'; expected the dashboard's, as http://host:port."),
        (["--address", "http://me:secret@127.0.0.1:1"], "expected the dashboard's, as http://host:port."),
        (["--address", "http://127.0.0.1:1"], "expected the http://host:port of a Ray dashboard"),
        (["nowhere", "--json", "--watch"], "json is True; expected nothing beside --watch."),
    ],
)
def test_status_refuses_in_a_sentence(given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["status", *given])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "secret" not in said
    assert said.count("\n") == 1
