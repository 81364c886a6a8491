"""A minute of the soak test: whatever is killed at random moments, training goes on, and ends as it would have."""

import json
import sys
from pathlib import Path

import processes

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_a_minute_of_random_kills(tmp_path: Path) -> None:
    """Half of it on-policy through Redis, whose bits are to be the same; half with replay in shards. What is killed
    lengthens the 42 seconds to more than a minute."""
    options = "--minutes 0.7 --every 3 --quiet-seeds 3 --work redis --work replay --out"
    command = [sys.executable, str(SOAK), *options.split(), str(tmp_path)]
    ended = processes.run(command)
    assert ended.returncode == 0, ended.stderr
    outcomes = json.loads((tmp_path / "soak.json").read_text())["outcomes"]
    kinds = {event["kind"] for outcome in outcomes for event in outcome["events"]}
    assert kinds == {"actor", "hang", "node", "redis", "shard", "stuck"}
