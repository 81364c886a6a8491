"""Actors on a cluster whose nodes come and go."""

import json
import subprocess
import sys
from pathlib import Path


def test_actors_follow_the_nodes_and_what_they_lose_is_played_again(tmp_path: Path) -> None:
    """A node joins, one drains, one joins, one is killed, an actor hangs: in one run, on real nodes."""
    script = Path(__file__).with_name("elastic.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    begun, joined, drained, again, killed, hung = found["seen"]
    assert [each["actors_alive"] for each in found["seen"]] == [1, 2, 1, 2, 1, 1]
    assert (drained["restarts"], drained["lost_trials"]) == (0, 0)  # it was given time
    assert again["lost_trials"] == 0
    assert 0 < killed["lost_trials"] <= 2 * 8  # what was under way, and no more: two calls of eight trials
    assert killed["lost_trials"] < hung["lost_trials"] <= killed["lost_trials"] + 2 * 8
    assert hung["restarts"] == killed["restarts"] + 1
    assert begun["iteration"] < joined["iteration"]
    assert found["same"]  # the bits of a run that nothing happened to
    assert not found["beside_learner"]
