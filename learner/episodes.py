"""A number for each episode of a trial, as metrics have it."""

import numpy as np

EPISODES_SHOWN = 10
"""Episodes of a trial whose returns are shown, evenly spaced, the first and the last among them."""
EPISODE = "_episode_"
"""In the names of what a metrics line has by episode: `return_episode_1`, `measure_success_episode_1`."""


def episode_entries(returns: np.ndarray, of: str = "return") -> dict[str, float]:
    """Entries of a metrics line for the mean return, or a measure, of each episode of a trial, [episodes]."""
    shown = np.unique(np.linspace(1, len(returns), min(len(returns), EPISODES_SHOWN)).round().astype(int))
    return {f"{of}{EPISODE}{episode}": float(returns[episode - 1]) for episode in shown.tolist()}


def last_episode(returns: np.ndarray) -> np.ndarray:
    """Of returns [B, episodes], those of the last episode that each trial reached, [B]."""
    return np.take_along_axis(returns, (~np.isnan(returns)).sum(1, keepdims=True) - 1, 1)[:, 0]
