"""Plots of runs: the learning curve, and the adaptation curve of the evaluation."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...actors.report import LONGEST
from ...envs.errors import BadInput, require
from ...learner.files import plain
from ...learner.places import resolve_path
from .lines import HELD_OUT, read_lines
from .saved import Baseline, Evaluation, Line, SavedConfig, read_config, read_evaluation
from .written import write_all

LOG_AXIS_RATIO = 5
"""Where one run has that many times the steps of another, the axis is logarithmic."""

DRAWABLE = 1e100
"""Values are less; the widths of axes may not overflow."""


def plot(runs: list[Path], out: Path) -> list[Path]:
    """Draw what the runs have.

    Args:
        runs: directories of runs.
        out: where the pictures go; made if need be.

    Returns:
        The files written: `learning.png`, and `adaptation.png` where a run was evaluated.

    Raises:
        BadInput: a directory has no metrics, or a file in it that cannot be used; nothing has been written.
    """
    runs, out = [resolve_path("run", run) for run in runs], resolve_path("out", out)
    require(len({*runs}) == len(runs), "runs", [*map(str, runs)], "each of them once")
    curves = {run: read_lines(run / "metrics.jsonl") for run in runs}
    for run, lines in curves.items():
        if not lines:
            raise BadInput(f"run is {str(run)!r}; expected a directory with a metrics.jsonl that is not empty.")
    configs = {run: read_config(run) for run in runs}
    evaluations = {run: found for run in runs if (found := read_evaluation(run, configs[run]))}
    pictures: dict[str, bytes] = {}
    with canvas((7, 4), pictures, "learning.png") as figure:
        _learning(figure.subplots(), curves, configs, evaluations)
    if evaluations:
        by = ["by_episode", *(["by_window"] if all("by_window" in each for each in evaluations.values()) else [])]
        with canvas((7 * len(by), 4), pictures, "adaptation.png") as figure:
            for index, curve_by in enumerate(by):
                _adaptation(figure.add_subplot(1, len(by), index + 1), evaluations, curve_by)
    write_all("out", out, pictures)
    return [out / name for name in pictures]


@contextmanager
def canvas(size: tuple[float, float], pictures: dict[str, bytes], name: str) -> Iterator[Figure]:
    """A figure to be drawn on; as PNG it is then one of `pictures`.

    Args:
        size: width and height, inches.
        pictures: by name.
        name: its own.
    """
    figure, data = pyplot.figure(figsize=size, layout="constrained"), io.BytesIO()
    try:
        yield figure
        figure.savefig(data, dpi=150)
    finally:
        pyplot.close(figure)
    pictures[name] = data.getvalue()


def label(text: str) -> str:
    """A name in a picture: what would be a formula, or hide it from the legend, is none."""
    shown = plain(text).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def _learning(
    axes: Axes,
    curves: dict[Path, list[Line]],
    configs: dict[Path, SavedConfig | None],
    evaluations: dict[Path, Evaluation],
) -> None:
    episodes = [config["episodes"] if config and not config.get("trial_steps") else 0 for config in configs.values()]
    held_out = False
    by_episode = all(each in range(2, LONGEST + 1) for each in episodes)
    for index, (run, lines) in enumerate(curves.items()):
        evaluated = [line for line in lines if f"{HELD_OUT}return" in line]
        held_out = held_out or bool(evaluated)
        for name, style in (("first_episode", ":"), ("last_episode", "-")) if by_episode else (("return", "-"),):
            text = label(f"{run.name}, {name.replace('_', ' ')}" if by_episode else run.name)
            look: dict[str, Any] = {"color": f"C{index}", "linestyle": style, "linewidth": 1}
            if evaluated:
                values = [drawable(line.get(HELD_OUT + name, math.nan)) for line in evaluated]
                axes.plot([line["env_steps"] for line in evaluated], values, marker=".", label=text, **look)
                text, look["alpha"] = None, 0.3
            axes.plot(*curve(lines, name), label=text, **look)
    for index, (name, baseline) in enumerate(_baselines(evaluations).items()):
        each = baseline.get("by_episode", [])[-1:] if by_episode else [baseline]
        for shown in each:
            axes.axhline(
                drawable(shown["mean"]), color=f"C{index + len(curves)}", linestyle=":", linewidth=1, label=label(name)
            )
    lengths = [lines[-1]["env_steps"] for lines in curves.values()]
    if max(lengths) > LOG_AXIS_RATIO * min(lengths):
        axes.set_xscale("log")
    axes.set_xlabel("environment steps")
    tasks = "held-out tasks; faint: training tasks" if held_out else "training tasks"
    axes.set_ylabel(f"return of {'an episode' if by_episode else 'a trial'}\n({tasks})")
    axes.legend(fontsize="small", ncols=2)


def curve(lines: list[Line], entry: str) -> tuple[list[float], list[float]]:
    """An entry over environment steps, with a gap where iterations are missing or it is no number."""
    steps, values, before = [], [], 0
    for line in lines:
        if line["iteration"] > before + 1:
            steps.append(line["env_steps"])
            values.append(math.nan)
        steps.append(line["env_steps"])
        values.append(drawable(line[entry]))
        before = line["iteration"]
    return steps, values


def drawable(value: float) -> float:
    """The value, or NaN, which leaves a gap, where an axis cannot show it."""
    return value if abs(value) < DRAWABLE else math.nan


def _adaptation(axes: Axes, evaluations: dict[Path, Evaluation], by: str) -> None:
    by_gradient = all(result.get("rollouts", 1) > 1 for result in evaluations.values())
    for run, result in evaluations.items():
        curve, first = result[by], 0 if by_gradient else 1
        numbers = range(first, first + len(curve))
        axes.plot(numbers, [drawable(e["mean"]) for e in curve], marker=".", label=label(run.name))
        low, high = ([drawable(e[bound]) for e in curve] for bound in ("low", "high"))
        axes.fill_between(numbers, low, high, alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if by == "by_window":
        axes.set_xlabel("tenth of the trial's steps")
        axes.set_ylabel("reward in it (held-out tasks)")
    else:
        axes.set_xlabel("inner steps" if by_gradient else "episode of the trial")
        axes.set_ylabel("return of the episode (held-out tasks)")
    axes.legend(fontsize="small")


def _baselines(evaluations: dict[Path, Evaluation]) -> dict[str, Baseline]:
    """Drawn only where all runs share them."""
    found = [result["baselines"] for result in evaluations.values()]
    return found[0] if len(found) == 1 else {}
