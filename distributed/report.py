"""The evaluation of a run: its agent and every baseline on the same held-out tasks, as one object and as a table."""

from typing import Any

from rich.table import Table

from ..actors.agent import Agent
from ..actors.baselines import baselines
from ..actors.baselines.bayes import BayesOptimal
from ..actors.evaluate import evaluate


def evaluation(agent: Agent, *, tasks: int, seed: int) -> dict[str, Any]:
    """Evaluate an agent, and the baselines that its family has.

    Args:
        agent: see `Agent.load`.
        tasks: held-out tasks, the same for all.
        seed: of the tasks and their noise.

    Returns:
        `return` as {mean, low, high} (95 % bootstrap interval over tasks), `by_episode` as a list of the same, `tasks`,
        `family`, `algorithm`, `episodes`, `seed`, `baselines` (name to {mean, low, high}), and `optimum`: the exact
        value of the Bayes-optimal policy, where it can be computed, else null.
    """
    experiment = agent.experiment
    family, episodes = experiment.family, experiment.episodes
    measured = evaluate(agent, family, episodes, tasks=tasks, seed=seed)
    others = baselines(family, episodes)
    return {
        **measured,
        "family": experiment.family_name,
        "algorithm": experiment.algorithm_name,
        "episodes": episodes,
        "seed": seed,
        "baselines": {
            name: evaluate(other, family, episodes, tasks=tasks, seed=seed)["return"] for name, other in others.items()
        },
        "optimum": next((other.value for other in others.values() if isinstance(other, BayesOptimal)), None),
    }


def table(result: dict[str, Any], name: str) -> Table:
    """An evaluation as a table, best last.

    Args:
        result: what `evaluation` returned.
        name: of the run.
    """
    optimum = result["optimum"]
    drawn = Table(
        title=f"{result['family']}, {result['episodes']} episodes a trial, {result['tasks']:,} held-out tasks"
    )
    drawn.add_column("agent")
    drawn.add_column("return", justify="right")
    drawn.add_column("95 % interval", justify="right")
    if optimum is not None:
        drawn.add_column("share of Bayes optimum", justify="right")
    rows = [
        (f"{result['algorithm']} ({name})", result["return"], "bold"),
        *((n, i, "") for n, i in result["baselines"].items()),
    ]
    for label, interval, style in sorted(rows, key=lambda row: row[1]["mean"]):
        cells = [label, f"{interval['mean']:.3f}", f"{interval['low']:.3f} to {interval['high']:.3f}"]
        if optimum is not None:
            cells.append(f"{interval['mean'] / optimum:.1%}")
        drawn.add_row(*cells, style=style)
    return drawn
