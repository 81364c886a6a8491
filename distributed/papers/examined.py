"""The trained agents of a table: as they are evaluated, what was found, and how far they were trained."""

from pathlib import Path
from typing import Any

from ...actors.agent import Agent, locate
from ...envs.errors import require
from .comparison import Measured, Trained
from .table import Examination, Table


def examined_agent(examined: Examination, place: Path) -> Agent:
    """A trained agent, as it is evaluated."""
    # What the run names has been compared with the table, which the user named.
    return Agent.load(
        place, episodes=examined.episodes, family=examined.family, algorithm=examined.algorithm, trust_plugins=True
    )


def in_units(table: Table, found: dict[str, Any], answers: int) -> Measured:
    """What `evaluate` found, in the units of a table.

    Args:
        table: which one.
        found: what `evaluate` returned.
        answers: in an episode.
    """
    measured: Measured = {"return": found["return"], "regret": found["regret"]}
    if table.measure in ("accuracy", "error") and "counted" in found:
        mean, low, high = (found["counted"][name] / answers for name in ("mean", "low", "high"))
        if table.measure == "accuracy":
            measured["accuracy"] = {"mean": 100 * mean, "low": 100 * low, "high": 100 * high}
        else:
            measured["error"] = {"mean": -mean, "low": -high, "high": -low}
    return measured


def record(numbers: dict[str, float]) -> Trained:
    """How far a run has been trained."""
    return {
        "iterations": numbers["version"],
        "env_steps": numbers["env_steps"],
        "minutes": round(numbers["seconds"] / 60, 3),
    }


def numbers_of(place: Path) -> dict[str, float]:
    """Of a run's newest checkpoint; empty before the first."""
    checkpoints = locate(place).checkpoints()
    numbers = checkpoints.newest().numbers if checkpoints.names() else {}
    missing = [name for name in ("version", "env_steps", "seconds") if numbers and name not in numbers]
    require(not missing, "out", str(place), f"a run whose checkpoints say their {' and '.join(missing)}")
    return numbers
