"""Several systems side by side: aggregates over seeds and tasks with intervals, as numbers, a table and a picture."""

import json
from dataclasses import asdict
from itertools import permutations
from typing import Any

import numpy as np

from ...actors.aggregate import (
    Aggregate,
    interval,
    iqm,
    mean,
    median,
    optimality_gap,
    percentiles,
    probability_of_improvement,
    profile,
    resamples,
)
from ...envs.errors import require
from ...learner.files import plain
from .plot import canvas, label
from .scores import System, together

FEW = 5
"""With fewer seeds than this, the table warns that there are few."""
THRESHOLDS = 101
"""Points of a performance profile."""


def compare(systems: list[System], *, low: float, high: float | None, count: int, seed: int) -> dict[str, Any]:
    """Compare systems.

    Args:
        systems: at least one.
        low: the score that counts as 0.
        high: the score that counts as 1, and as the goal of the optimality gap; None for scores as they are.
        count: resamples of each interval.
        seed: of their draws.

    Returns:
        `tasks` (0 where the systems do not have the same ones, so that means over tasks are compared), `low`, `high`,
        `resamples`; `systems`, name to {seeds, iqm, mean, median, optimality_gap (None without `high`), profile
        {thresholds, share, low, high}, curve {steps, iqm, low, high}}; `improvement`, name to other name to the
        probability that a run of the first beats one of the other on a task. Each aggregate is {mean, low, high},
        where `mean` is the aggregate itself.
    """
    require(high is None or high > low, "high", high, f"more than low, {low:g}")
    scale = 1.0 if high is None else high - low
    given = [
        each._replace(scores=(each.scores - low) / scale, curve=(each.curve - low) / scale)
        for each in together(systems)
    ]
    tasks = len(given[0].tasks)
    options: dict[str, Any] = {"over_tasks": tasks > 0, "count": count, "seed": seed}
    ends = [bound for each in given for bound in (each.scores.min(), each.scores.max())]
    thresholds = np.linspace(min(ends), max(ends), THRESHOLDS)

    def of(aggregate: Aggregate, *scores: np.ndarray) -> dict[str, float]:
        return asdict(interval(aggregate, *scores, **options))

    found: dict[str, Any] = {}
    for each in given:
        rng = np.random.default_rng(seed)
        drawn = resamples([each.scores], count, rng, over_tasks=tasks > 0)
        bounds = percentiles(np.array([profile(scores, thresholds) for (scores,) in drawn]))
        found[each.name] = {
            "seeds": len(each.scores),
            "iqm": of(iqm, each.scores),
            "mean": of(mean, each.scores),
            "median": of(median, each.scores),
            "optimality_gap": None if high is None else of(optimality_gap, each.scores),
            "profile": _curve("thresholds", thresholds, "share", profile(each.scores, thresholds), bounds),
            "curve": _learning(each, count, seed),
        }
    improvement: dict[str, dict[str, Any]] = {each.name: {} for each in given}
    for one, other in permutations(given, 2):
        improvement[one.name][other.name] = of(probability_of_improvement, one.scores, other.scores)
    return {
        "tasks": tasks, "low": low, "high": high, "resamples": count, "systems": found, "improvement": improvement,
    }  # fmt: skip


def _learning(system: System, count: int, seed: int) -> dict[str, list[float]]:
    """The interquartile mean over seeds at each point of the curve, with its band."""
    rng = np.random.default_rng(seed)
    points = system.curve.T  # each is a sample of seeds
    if not len(system.steps):
        return _curve("steps", system.steps, "iqm", system.steps, np.empty((2, 0)))
    runs = (rng.integers(points.shape[1], size=points.shape[1]) for _ in range(count))
    bounds = percentiles(np.array([iqm(points[:, drawn], axis=1) for drawn in runs]))
    return _curve("steps", system.steps, "iqm", iqm(points, axis=1), bounds)


def _curve(over: str, at: np.ndarray, name: str, values: np.ndarray, bounds: np.ndarray) -> dict[str, list[float]]:
    return {over: at.tolist(), name: values.tolist(), "low": bounds[0].tolist(), "high": bounds[1].tolist()}


def markdown(comparison: dict[str, Any]) -> str:
    """A comparison as tables, with what is to be known of them."""
    systems, tasks, high = comparison["systems"], comparison["tasks"], comparison["high"]
    columns = ["iqm", "mean", "median", *(["optimality_gap"] if high is not None else [])]
    titles = {"iqm": "IQM", "optimality_gap": "optimality gap"}
    rows = [["system", "seeds", *(titles.get(each, each) for each in columns)]]
    for name, each in systems.items():
        rows.append([_cell(name), str(each["seeds"]), *(_interval(each[column]) for column in columns)])
    said = [f"95 % intervals: stratified bootstrap over seeds{f' and {tasks:,} tasks' if tasks else ''}, "
            f"{comparison['resamples']:,} resamples."]  # fmt: skip
    if high is not None:
        said.append(f"Scores: 0 is {comparison['low']:g}, 1 is {high:g}.")
    if not tasks:
        said.append("The runs do not have the same tasks: each is its mean over its own.")
    if few := [_cell(name) for name, each in systems.items() if each["seeds"] < FEW]:
        said.append(f"Fewer than {FEW} seeds, which say little of others: {', '.join(few)}.")
    text = f"{_table(rows)}\n\n{' '.join(said)}\n"
    if len(systems) > 1:
        against = [["P(row better than column)", *map(_cell, systems)]]
        for name, others in comparison["improvement"].items():
            against.append([_cell(name), *(_interval(others[each]) if each in others else "" for each in systems)])
        text += f"\n{_table(against)}\n"
    return text


def documents(comparison: dict[str, Any]) -> dict[str, bytes]:
    """A comparison as files, by name."""
    return {
        "compare.md": markdown(comparison).encode(),
        "compare.json": json.dumps(comparison, indent=1).encode(),
        "compare.png": picture(comparison),
    }


def _table(rows: list[list[str]]) -> str:
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *rest])


def _cell(name: str) -> str:
    return plain(name).replace("|", "\\|")


def _interval(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def picture(comparison: dict[str, Any]) -> bytes:
    """A comparison as PNG: aggregates with intervals, learning curves with bands, performance profiles."""
    systems = comparison["systems"]
    drawn, pictures = {"curve": ("steps", "iqm"), "profile": ("thresholds", "share")}, {}
    curves = [each for each in drawn if any(len(system[each]["low"]) > 1 for system in systems.values())]
    with canvas((4.5 * (1 + len(curves)), 3.8), pictures, "") as figure:
        axes = figure.subplots(1, 1 + len(curves), squeeze=False)[0]
        names = [*systems]
        for row, name in enumerate(names):
            for at, aggregate in enumerate(("mean", "median", "iqm")):
                found = systems[name][aggregate]
                error = [[found["mean"] - found["low"]], [found["high"] - found["mean"]]]
                look = {
                    "fmt": "sD^"[at],
                    "color": f"C{row}",
                    "label": aggregate.replace("iqm", "IQM") if not row else None,
                }
                axes[0].errorbar(found["mean"], -row - (at - 1) * 0.2, xerr=np.maximum(error, 0), **look)
        axes[0].set_yticks(-np.arange(len(names)), [label(name) for name in names])
        axes[0].set_xlabel("score" if comparison["high"] is None else "normalised score")
        axes[0].legend(fontsize="small")
        for panel, kind in zip(axes[1:], curves, strict=True):
            over, value = drawn[kind]
            for row, name in enumerate(names):
                found = systems[name][kind]
                panel.plot(found[over], found[value], color=f"C{row}", label=label(name))
                panel.fill_between(found[over], found["low"], found["high"], color=f"C{row}", alpha=0.2, linewidth=0)
            panel.set_xlabel("environment steps" if kind == "curve" else "score τ")
            panel.set_ylabel(
                "IQM over seeds (held-out tasks)" if kind == "curve" else "share of runs and tasks above τ"
            )
            panel.legend(fontsize="small")
    return pictures[""]
