"""How often does a 95 % interval of a mean over tasks cover it?

python benchmarks/intervals.py          # the table of benchmarks/results/intervals

By simulation, for returns that differ among tasks in several ways and for evaluations of different sizes: our interval,
the percentile bootstrap's, and Student's.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from innerloop.actors.intervals import intervals

REPEATED = 2_000
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
RETURNS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(3, 2, shape), 3.0),
    "exponential": (lambda rng, shape: -rng.exponential(20, shape), -20.0),
    "lognormal": (lambda rng, shape: rng.lognormal(size=shape), float(np.exp(0.5))),
    "beta(.5, .1), mostly right": (lambda rng, shape: rng.beta(0.5, 0.1, shape), 5 / 6),
    "three of ten fail": (lambda rng, shape: -30 - 20 * rng.exponential(size=shape) * (rng.random(shape) < 0.3), -36.0),
}


def percentile(samples: np.ndarray) -> np.ndarray:
    """The percentile bootstrap's bounds, [2, columns]."""
    n, rng = len(samples), np.random.default_rng(0)
    means = [np.bincount(rng.integers(n, size=n), minlength=n) @ samples / n for _ in range(1_000)]
    return np.percentile(means, [2.5, 97.5], axis=0)


def students(samples: np.ndarray) -> np.ndarray:
    n = len(samples)
    half = stats.t.ppf(0.975, n - 1) * samples.std(0, ddof=1) / n**0.5
    return np.stack([samples.mean(0) - half, samples.mean(0) + half])


def ours(samples: np.ndarray) -> np.ndarray:
    return np.array([(each.low, each.high) for each in intervals(samples)]).T


def main() -> None:
    print("| tasks | returns | ours | percentile bootstrap | Student's |\n|---|---|---|---|---|")
    for n in (10, 20, 40, 200, 1_000):
        for name, (draw, mean) in RETURNS.items():
            samples = draw(np.random.default_rng(n), (n, REPEATED))
            bounds = (method(samples) for method in (ours, percentile, students))
            covered = (((low <= mean) & (mean <= high)).mean() for low, high in bounds)
            print(f"| {n:,} | {name} | " + " | ".join(f"{share:.1%}" for share in covered) + " |", flush=True)


if __name__ == "__main__":
    main()
