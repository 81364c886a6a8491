"""The papers' tables: what was published, and how the same cells are trained here.

A column that is no name in `actors.baselines.BASELINES` is trained. Figures are means over the number of tasks that the
source names; a peak over training, or the best of several runs, is as good as the paper says.
"""

from typing import Any

from .few_shot import FEW_SHOT
from .table import Cell, Table

__all__ = ["TABLES", "Cell", "Table"]


def _bandit_training(pulls: int, arms: int) -> dict[str, Any]:
    """For 10 pulls as the preset `first`; how the others were found is in benchmarks/results/rl2-bandits."""
    if pulls <= 10:
        return {"trials": 1_000, "learning_rate": 7e-3, "entropy": 0.005}
    return {
        "trials": 128 if pulls <= 100 else 64,
        "hidden": 64,
        "embedding": 64,
        "learning_rate": 3e-3,
        "entropy": 0.1 if arms <= 10 else 0.03,
        "trace": 0.8,
        "discount": 0.98,
        "discount_end": 1.0,
        "regret": True,
        "checkpoint_every": 10,
        "episodes_start": 50 if pulls > 100 else 0,
    }


def _bandits(published: dict[tuple[int, int], dict[str, float]]) -> dict[str, Cell]:
    """Cells of Bernoulli bandits, by pulls and arms."""
    return {
        f"{pulls},{arms}": Cell(
            {"family": "bernoulli-bandit", "arms": arms, "episodes": pulls} | _bandit_training(pulls, arms),
            10 if pulls == 10 else 30 if (pulls, arms) == (100, 5) else 60,
            figures,
        )
        for (pulls, arms), figures in published.items()
    }


def _figures(columns: str, rows: dict[Any, str]) -> dict[Any, dict[str, float]]:
    """Rows of figures by column; a dash where there is none."""
    names = columns.split()
    return {
        key: {name: float(each) for name, each in zip(names, row.split(), strict=True) if each != "-"}
        for key, row in rows.items()
    }


DUAN_BANDITS = _figures(
    "Random Gittins Thompson OTS UCB1 e-greedy Greedy RL²",
    {
        (10, 5): "5.0 6.6 5.7 6.5 6.7 6.6 6.6 6.7",
        (10, 10): "5.0 6.6 5.5 6.2 6.7 6.6 6.6 6.7",
        (10, 50): "5.1 6.5 5.2 5.5 6.6 6.5 6.5 6.8",
        (100, 5): "49.9 78.3 74.7 77.9 78.0 75.4 74.8 78.7",
        (100, 10): "49.9 82.8 76.7 81.4 82.4 77.4 77.1 83.5",
        (100, 50): "49.8 85.2 64.5 67.7 84.3 78.3 78.0 84.9",
        (500, 5): "249.8 405.8 402.0 406.7 405.8 388.2 380.6 401.6",
        (500, 10): "249.0 437.8 429.5 438.9 437.1 408.0 395.0 432.5",
        (500, 50): "249.6 463.7 427.2 437.6 457.6 413.6 402.8 438.9",
    },
)
"""Duan et al. 2016, table 1, by pulls and arms: 1,000 tasks, so that one standard error is 0.08, 0.5 or 2.3."""

MISHRA_BANDITS = dict(zip(DUAN_BANDITS, (6.6, 6.7, 6.7, 79.1, 83.5, 85.1, 408.1, 432.4, 442.6), strict=True))
"""Mishra et al. 2017, SNAIL, by pulls and arms; the 95 % intervals they give are .1 (10 pulls) to 4.9 (500, 5)."""

DUAN_MDPS = _figures(
    "Random PSRL OPSRL UCRL2 BEB e-greedy Greedy RL²",
    {
        10: "100.1 138.1 144.1 146.6 150.2 132.8 134.8 156.2",
        25: "250.2 408.8 425.2 424.1 427.8 377.3 368.8 445.7",
        50: "499.7 904.4 930.7 918.9 917.8 823.3 769.3 936.1",
        75: "749.9 1417.1 1449.2 1427.6 1422.6 1293.9 1172.9 1428.8",
        100: "999.4 1939.5 1973.9 1942.1 1935.1 1778.2 1578.5 1913.7",
    },
)
"""Duan et al. 2016, table 2, by episodes: 1,000 MDPs; one standard error at 10 episodes is 0.9."""


def _mdps() -> dict[str, Cell]:
    """Longer trials go on from the agent of the shorter ones; how these options were found is in
    benchmarks/results/rl2-mdps and rl2-mdps-further."""
    training = {
        "family": "tabular-mdp",
        "hidden": 64,
        "embedding": 64,
        "value_weight": 0.2,
        "regret": True,
        "checkpoint_every": 10,
    }
    anew = {"learning_rate": 1e-3, "trace": 0.5, "discount": 0.5, "discount_end": 1.0, "entropy": 0.1}
    further = {"learning_rate": 5e-4, "trace": 0.97, "discount": 0.98, "discount_end": 1.0, "entropy": 0.05}
    cells = {}
    for episodes, after in {10: "", 25: "10", 50: "25", 75: "50", 100: "75"}.items():
        trials = 5_000 // episodes if after else 64
        options = {"episodes": episodes, "trials": trials} | training | (further if after else anew)
        cells[str(episodes)] = Cell(options, 60, DUAN_MDPS[episodes], after)
    return cells


def _two_arms() -> dict[str, Cell]:
    """As other bandits of 100 pulls, but for a discount that rises from 0.5, as on MDPs: with 0.98 at the start an LSTM
    learned nothing at the level easy in 4.9 M steps, with 0.5 all that there is to learn in 0.5 M. Before that,
    what later pulls cost is noise in the advantages; larger batches did not help against it, a lambda of 0.3 did.
    """
    training = {"episodes": 100, **_bandit_training(100, 2), "discount": 0.5}
    cells = {"independent": Cell({"family": "bernoulli-bandit", "arms": 2} | training, 10, {})}
    for level in ("uniform", "easy", "medium", "hard"):
        cells[level] = Cell({"family": "correlated-bandit", "level": level} | training, 10, {})
    return cells


TABLES = {
    "rl2-bandits": Table(
        "Return of a trial on Bernoulli bandits, by pulls and arms (Duan et al. 2016, arXiv:1611.02779, table 1).",
        "return",
        {
            "RL²": {"memory": "lstm"},
            "RL² deepset": {"memory": "deepset", "embedding": 0},
        },
        _bandits(DUAN_BANDITS),
    ),
    "rl2-mdps": Table(
        "Return of a trial on random tabular MDPs, by episodes (Duan et al. 2016, arXiv:1611.02779, table 2).",
        "return",
        {
            "RL²": {"memory": "lstm", "hidden": 128, "embedding": 128},
            "RL² transformer": {"memory": "transformer,layers=2,heads=4", "transitions": True},
        },
        _mdps(),
    ),
    "snail-bandits": Table(
        "Return of a trial on Bernoulli bandits, by pulls and arms (Mishra et al. 2017, arXiv:1707.03141: the "
        "other columns are those of Duan et al. 2016).",
        "return",
        {"RL²": {"memory": "lstm"}, "SNAIL": {"memory": "snail"}},
        _bandits({key: row | {"SNAIL": MISHRA_BANDITS[key]} for key, row in DUAN_BANDITS.items()}),
    ),
    "l2rl-bandits": Table(
        "Cumulative regret of 100 pulls of two arms, independent or paying with p and 1 - p (Wang et al. 2016, "
        "arXiv:1611.05763, section 3.1, whose figures are curves without numbers).",
        "regret",
        {"RL²": {"memory": "lstm"}, "RL² deepset": {"memory": "deepset", "embedding": 0}},
        _two_arms(),
    ),
    **FEW_SHOT,
}
"""By name, as on the command line."""
