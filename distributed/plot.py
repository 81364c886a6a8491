"""Plots of runs: the learning curve, and the adaptation curve of the evaluation."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..envs.errors import BadInput
from .metrics import read_lines
from .report import LONGEST

APART = 5
"""Where one run has so many times the steps of another, they are drawn on a logarithmic axis."""


def plot(runs: list[Path], out: Path) -> list[Path]:
    """Draw what the runs have.

    Args:
        runs: directories of runs.
        out: where the pictures go; made if need be.

    Returns:
        The files written: `learning.png`, and `adaptation.png` where a run was evaluated.

    Raises:
        BadInput: a directory has no metrics.
    """
    curves = {run: read_lines(run / "metrics.jsonl") for run in runs}
    for run, lines in curves.items():
        if not lines:
            raise BadInput(f"run is {str(run)!r}; expected a directory with a metrics.jsonl that is not empty.")
    files = {run: run / "evaluation.json" for run in runs}
    evaluations = {run: json.loads(file.read_text()) for run, file in files.items() if file.exists()}
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "learning.png"]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    _learning(axes, curves, evaluations)
    figure.savefig(written[0], dpi=150)
    pyplot.close(figure)
    if evaluations:
        written.append(out / "adaptation.png")
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        _adaptation(axes, evaluations)
        figure.savefig(written[1], dpi=150)
        pyplot.close(figure)
    return written


def _learning(axes: Axes, curves: dict[Path, list[dict[str, Any]]], evaluations: dict[Path, dict[str, Any]]) -> None:
    by_episode = all(_episodes(run) in range(2, LONGEST + 1) for run in curves)
    for index, (run, lines) in enumerate(curves.items()):
        steps = [line["env_steps"] for line in lines]
        for name, style in (("first_episode", ":"), ("last_episode", "-")) if by_episode else (("return", "-"),):
            label = f"{run.name}, {name.replace('_', ' ')}" if by_episode else run.name
            axes.plot(steps, [line[name] for line in lines], style, color=f"C{index}", linewidth=1, label=label)
    for index, (name, interval) in enumerate(_baselines(evaluations).items()):
        shown = interval["by_episode"][-1] if by_episode else interval
        axes.axhline(shown["mean"], color=f"C{index + len(curves)}", linestyle=":", linewidth=1, label=name)
    lengths = [lines[-1]["env_steps"] for lines in curves.values()]
    if max(lengths) > APART * min(lengths):
        axes.set_xscale("log")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return of an episode (training tasks)" if by_episode else "return of a trial (training tasks)")
    axes.legend(fontsize="small", ncols=2)


def _episodes(run: Path) -> int:
    """In a trial of the run; 0 if its configuration is not there."""
    file = run / "config.json"
    return int(json.loads(file.read_text())["episodes"]) if file.exists() else 0


def _adaptation(axes: Axes, evaluations: dict[Path, dict[str, Any]]) -> None:
    by_gradient = all(result.get("rollouts", 1) > 1 for result in evaluations.values())
    for run, result in evaluations.items():
        first = 0 if by_gradient else 1
        episodes = range(first, first + len(result["by_episode"]))
        axes.plot(episodes, [e["mean"] for e in result["by_episode"]], marker=".", label=run.name)
        low, high = ([e[bound] for e in result["by_episode"]] for bound in ("low", "high"))
        axes.fill_between(episodes, low, high, alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("inner steps" if by_gradient else "episode of the trial")
    axes.set_ylabel("return of the episode (held-out tasks)")
    axes.legend(fontsize="small")


def _baselines(evaluations: dict[Path, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Drawn only where all runs share them."""
    found = [result["baselines"] for result in evaluations.values()]
    return found[0] if len(found) == 1 else {}
