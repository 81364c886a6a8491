"""The evaluation of a run: its agent and every baseline on the same held-out tasks, as one object and as a table."""

from pathlib import Path
from typing import Any

from rich.table import Table

from ..learner.options import options_of
from .agent import Agent
from .baselines import baselines
from .baselines.bayes import BayesOptimal
from .evaluate import evaluate, window_edges
from .intervals import FEW


def evaluation(
    agent: Agent, *, tasks: int, seed: int, file: Path | None = None, scores: Path | None = None
) -> dict[str, Any]:
    """Evaluate an agent, and the baselines that its family has.

    Args:
        agent: see `Agent.load`.
        tasks: held-out tasks, the same for all.
        seed: of the tasks and their noise.
        file: where the agent's returns on every single task go, see `ReturnsFile`.
        scores: where those of its trials go, see `write_scores`.

    Returns:
        `return` as {mean, low, high} (95 % interval over tasks), `by_episode` as a list of the same, `regret`, `tasks`,
        `different_tasks` (see `evaluate`), `family`, `family_options`, `algorithm`, `episodes`, `trial_steps` (0, or
        `by_window` is there too, and the baselines' by_episode may be longer or shorter), `rollouts` (episodes of one
        task side by side; where there are several, by_episode[i] is the return after i inner steps), `measures` (name
        to a list as `by_episode`), `seed`, `baselines` (name to {mean, low, high, by_episode, regret, measures}),
        and `optimum`: the exact value of the Bayes-optimal policy, where it can be computed, else null.
    """
    experiment = agent.experiment
    family, steps = experiment.family, experiment.trial_steps
    episodes = max(1, steps // family.horizon) if steps else experiment.episodes
    measured = evaluate(agent, family, episodes, tasks=tasks, seed=seed, file=file, scores=scores, trial_steps=steps)
    others = baselines(family, episodes)
    played = {
        name: evaluate(other, family, episodes, tasks=tasks, seed=seed, trial_steps=steps)
        for name, other in others.items()
    }
    curves = "by_episode", "by_window", "regret", "measures"
    return {
        **measured,
        "family": experiment.family_name,
        "family_options": options_of(family),
        "algorithm": experiment.algorithm_name,
        "episodes": len(measured["by_episode"]),
        "trial_steps": steps,
        "rollouts": agent.rollouts_per_task,
        "seed": seed,
        "baselines": {
            name: result["return"] | {each: result[each] for each in curves if each in result}
            for name, result in played.items()
        },
        "optimum": next((other.value for other in others.values() if isinstance(other, BayesOptimal)), None),
    }


LONGEST = 6
"""Episodes in a trial up to which the table has a column for each."""


def table(result: dict[str, Any], name: str) -> Table:
    """An evaluation as a table, best last: the adaptation curve, and for trials of many episodes their whole return.

    Args:
        result: what `evaluation` returned.
        name: of the run.
    """
    optimum, episodes, steps = result["optimum"], result["episodes"], result["trial_steps"]
    length = f"{steps:,} steps" if steps else f"{episodes} episodes"
    drawn = Table(title=f"{result['family']}, {length} a trial, {_tasks(result['tasks'], result['different_tasks'])}")
    drawn.add_column("agent")
    each = range(episodes) if 1 < episodes <= LONGEST and not steps else range(0)
    edges = window_edges(steps)
    windows = [0, len(edges) - 2] if len(edges) > 2 else []
    for index in each:
        drawn.add_column(f"{index} inner steps" if result["rollouts"] > 1 else f"episode {index + 1}", justify="right")
    if not each:
        drawn.add_column("return", justify="right")
        drawn.add_column("95 % interval", justify="right")
    for index in windows:
        drawn.add_column(f"steps {edges[index] + 1:,} to {edges[index + 1]:,}", justify="right")
    if optimum is not None:
        drawn.add_column("share of Bayes optimum", justify="right")
    for measure in result["measures"]:
        drawn.add_column(f"{measure}, last episode" if episodes > 1 else measure, justify="right")
    rows = [
        (f"{result['algorithm']} ({name})", result["return"], result, "bold"),
        *((n, found, found, "") for n, found in result["baselines"].items()),
    ]
    for label, whole, found, style in sorted(rows, key=lambda row: row[1]["mean"]):
        curve = found["by_episode"]
        cells = [f"{e['mean']:.2f} ({e['low']:.2f} to {e['high']:.2f})" for e in (curve[index] for index in each)]
        if not each:
            cells = [f"{whole['mean']:.3f}", f"{whole['low']:.3f} to {whole['high']:.3f}"]
        cells += [f"{found['by_window'][index]['mean']:.3f}" for index in windows]
        if optimum is not None:
            cells.append(f"{whole['mean'] / optimum:.1%}")
        for last in (by_episode[-1] for by_episode in found["measures"].values()):
            cells.append(f"{last['mean']:.3f} ({last['low']:.3f} to {last['high']:.3f})")
        drawn.add_row(label, *cells, style=style)
    return drawn


def _tasks(trials: int, different: int) -> str:
    if different == trials:
        return f"{trials:,} held-out tasks"
    few = ", too few for an interval to say much of others" if different < FEW else ""
    return f"{trials:,} trials on {different:,} different held-out tasks{few}"
