"""Actors on a cluster whose nodes come and go, and actors that fail."""

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import processes
import pytest
import ray
from families import PoisonedBandit, RaisingBandit

from innerloop.distributed.config import configure
from innerloop.distributed.rollouts import pool
from innerloop.distributed.rollouts.failures import ActorsDied
from innerloop.distributed.rollouts.nodes import Nodes
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.trainer import train
from innerloop.envs.errors import BadInput

CALLS = 2 * 8
"""Trials that an actor has under way, at most: one call of two parts of eight."""


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What elastic.py saw, and where it left its runs."""
    out, script = tmp_path_factory.mktemp("elastic"), Path(__file__).parents[1] / "elastic.py"
    done = processes.run([sys.executable, str(script), str(out)], env=os.environ | {"RAY_worker_niceness": "0"})
    assert done.returncode == 0, done.stderr
    return json.loads((out / "found.json").read_text()) | {"out": out}


def test_actors_follow_the_nodes_and_what_they_lose_is_played_again(elastic: dict[str, Any]) -> None:
    """Nodes join, one is killed, an actor hangs, the actors of a node raise: in one run, on real nodes."""
    seen = elastic["synchronous"]["seen"]
    assert [*seen] == ["join", "join again", "kill", "hang", "poison"]
    assert [each["actors_alive"] for each in seen.values()] == [1, 2, 1, 1, 1]
    assert [each["actors_wanted"] for each in seen.values()] == [1, 2, 1, 1, 2]
    for name in ("join", "join again"):
        assert (seen[name]["restarts"], seen[name]["lost_trials"]) == (0, 0)
    # What was under way, and no more.
    lost = [0, *(seen[name]["lost_trials"] for name in ("kill", "hang", "poison"))]
    assert 0 < lost[1] - lost[0] <= CALLS
    assert 0 < lost[2] - lost[1] <= CALLS
    assert 0 < lost[3] - lost[2] <= 2 * CALLS
    assert seen["hang"]["restarts"] == seen["kill"]["restarts"] + 1
    assert seen["poison"]["restarts"] == seen["hang"]["restarts"] + 2  # max_restarts is 1
    assert seen["kill"]["waited"] < 6  # patience: the other actor has played it, whatever becomes of the dead one
    assert elastic["same"]  # the bits of a loop without Ray that nothing happened to


def test_actors_follow_the_nodes_while_the_learner_learns(elastic: dict[str, Any]) -> None:
    """A node joins the one that is there, one drains, the last is killed before another joins."""
    seen = elastic["overlapped"]["seen"]
    assert [*seen] == ["join again", "drain", "replace"]
    assert [each["actors_alive"] for each in seen.values()] == [2, 1, 1]
    drained, replaced = seen["drain"], seen["replace"]
    assert (drained["restarts"], drained["lost_trials"], drained["dropped_lost"]) == (0, 0, 0)  # it was given time
    assert replaced["lost_trials"] <= CALLS  # none, if it had played all that there was
    lines = read_lines(elastic["out"] / "overlapped" / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [*range(1, 61)]
    assert all(line["env_steps"] == 32 * 5 * line["iteration"] for line in lines)
    assert all(line["staleness_max"] <= 1 for line in lines)


def test_actors_keep_off_the_learners_nodes_unless_told(elastic: dict[str, Any]) -> None:
    assert elastic["rooms"] == {"alone": True, "learners": {}, "told": True}
    assert elastic["synchronous"]["off_learners"]
    assert elastic["overlapped"]["off_learners"]


def test_the_autoscaler_is_asked_for_what_can_be_used_and_told_at_the_end(elastic: dict[str, Any]) -> None:
    assert elastic["synchronous"]["asked"] == [4, 0]  # as many as parts; afterwards nothing
    assert elastic["overlapped"]["asked"] == [8, 0]  # and those of the iteration ahead


def test_an_actor_that_always_raises_is_given_up_and_its_reason_said_once(elastic: dict[str, Any]) -> None:
    log = (elastic["out"] / "log").read_text()
    assert log.count("given up") == 1
    assert "its place is given up after 2 failures in a row, each time as it was said before." in log
    [said] = [line for line in log.splitlines() if "failed, and is replaced: ZeroDivisionError: the poison" in line]
    assert re.search(r"families\.py:\d+ in sample\.$", said)
    assert "Traceback" not in log
    assert len(log.splitlines()) < 20


def test_weights_come_to_a_node_once_for_all_its_actors(elastic: dict[str, Any]) -> None:
    assert elastic["copies"]["right"]
    assert 1 <= elastic["copies"]["received"] < 1.01  # three actors; the hundredth is what Ray says about the object


def test_a_trajectory_that_was_on_a_dead_node_is_lost_and_no_other(elastic: dict[str, Any]) -> None:
    assert elastic["copies"]["lost"] == [0]
    assert elastic["copies"]["taken"] == [1]
    assert elastic["copies"]["seconds"] < 20  # until Ray has noticed


@pytest.mark.usefixtures("own_ray")
def test_without_an_actor_that_does_not_raise_the_run_ends_in_one_sentence(tmp_path: Path) -> None:
    family = f"{PoisonedBandit.__module__}:PoisonedBandit"
    config = configure(family=family, poisoned=True, trials=8, actors=1, max_restarts=1)
    with pytest.raises(ActorsDied) as ended:
        train(config, tmp_path / "run")
    assert str(ended.value).startswith("every actor failed; max_restarts is 1. The last said: ")
    assert str(ended.value).count("ZeroDivisionError: the poison works, at ") == 1
    assert not (tmp_path / "run").exists()


LINE = r"families\.py:\d+ in sample"
SILENT = "its process ended at once: it was killed, crashed, or its environment called os._exit"


@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", rf"ValueError: no such arm, at \S*{LINE}"),
        ("awkward", rf"Awkward: 1 and 2, at \S*{LINE}"),
        ("numpy", rf"LinAlgError: Singular matrix, at \S*{LINE}"),
        ("exit", rf"SystemExit: bye, at \S*{LINE}"),
        ("interrupt", rf"KeyboardInterrupt, at \S*{LINE}"),
        ("die", SILENT),
    ],
)
def test_why_actors_fail_is_said_once_in_one_sentence(
    how: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the line of the user's own code; the traceback is for those who debug."""
    caplog.set_level(logging.DEBUG, "innerloop")
    family = f"{RaisingBandit.__module__}:RaisingBandit"
    config = configure(family=family, how=how, trials=8, parts=2, actors=1, max_restarts=1)
    with pytest.raises(ActorsDied) as ended:
        train(config, tmp_path / "run")
    assert re.fullmatch(rf".*max_restarts is 1\. The last said: .*{reason}\.", str(ended.value))
    records = [record for record in caplog.records if record.name == "innerloop"]
    said = [record.getMessage() for record in records if record.levelno > logging.DEBUG]
    assert sum(bool(re.search(rf"failed, and is replaced: .*{reason}\.$", each)) for each in said) == 1
    assert sum(bool(re.search(reason, each)) for each in said) == 2  # and how often, at the end
    own = [each for each in said if not each.startswith("Ray says: ")]  # which may come later
    assert re.search(rf"^\d times an actor failed like this: .*{reason}\.$", own[-1])
    assert not any("\n" in each for each in said)
    assert len(said) <= 5
    details = [record.getMessage() for record in records if record.levelno == logging.DEBUG]
    assert len(details) == 1
    assert how == "die" or "Traceback (most recent call last)" in details[0]


@pytest.mark.usefixtures("own_ray")
def test_a_node_with_another_version_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "deployed", lambda: "0.0.0")
    with pytest.raises(
        BadInput, match=r"^a node of the cluster has innerloop .*; expected 0\.0\.0, as the driver has\.$"
    ):
        train(configure(trials=8, actors=1), tmp_path / "run")


@pytest.mark.usefixtures("own_ray")
def test_a_machine_alone_is_shared_by_learner_and_actors() -> None:
    here = ray.get_runtime_context().get_node_id()
    assert Nodes(1.0).room() == {here: 2}  # synchronous: the learner rests while they play
    assert Nodes(0.5).room() == {here: 4}
    for reserved in (1, 2):  # an actor always finds a place
        nodes = Nodes(1.0, reserved=reserved)
        try:
            assert nodes.room() == {here: 1}
        finally:
            nodes.release()
