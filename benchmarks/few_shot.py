"""What an update of supervised meta-learning costs, against doing it task by task, and against bare convolutions.

python benchmarks/few_shot.py            # a table
python benchmarks/few_shot.py --json     # one object

One thread, medians:
    curves    supervised MAML on `sinusoid`: 25 tasks of 10 points, 10 queries each, one inner step, second order
    drawings  the same with the network of four blocks (64 channels, strided): 4 tasks of 5 ways and 5 shots, 25 queries
              each, 5 inner steps, second order
    protonet  an update of `protonet` on 60 ways, one shot and 5 queries, with the same network

`update` is the learner's, everything included. `one by one` is the same outer gradient and optimiser's step, task after
task, by automatic differentiation of a plain module; where learn2learn's MAML can be imported, by that. `bare` are the
network's convolutions alone, forwards and backwards, on as many images.
"""

import argparse
import copy
import importlib
import json
from collections.abc import Callable
from typing import Any

import torch
from limits import device_name, matrix_flops, median_seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import Config, configure
from innerloop.learner.gradient.network import AnswerNetwork
from innerloop.learner.learner import Learner

CURVES: dict[str, Any] = {
    "family": "sinusoid", "algorithm": "supervised-maml", "shots": 10, "episodes": 20, "loss_from": 10, "trials": 25,
    "inner_rate": 0.01,
}  # fmt: skip
DRAWINGS: dict[str, Any] = {
    "family": "strokes", "algorithm": "supervised-maml", "ways": 5, "shots": 5, "episodes": 10, "loss_from": 5,
    "trials": 4, "inner_rate": 0.1, "inner_steps": 5, "encoder": "conv4,strided=true", "layers": 0,
}  # fmt: skip
PROTONET: dict[str, Any] = {
    "family": "strokes", "algorithm": "protonet", "ways": 60, "shots": 1, "episodes": 6, "trials": 1,
    "encoder": "conv4,strided=true",
}  # fmt: skip


def prepared(options: dict[str, Any]) -> tuple[Config, Learner, Any]:
    """A learner, and a batch for it."""
    config = configure(**options)
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    return config, learner, Actor(config.experiment, seed=0).collect(Assignment(0, 0, config.run.trials))


def peer() -> tuple[str, Callable[[nn.Module, float], Any] | None]:
    """learn2learn's MAML, where it can be imported."""
    try:
        return "learn2learn", importlib.import_module("learn2learn.algorithms.maml").MAML
    except ImportError:
        return "one by one", None


def one_by_one(model: AnswerNetwork, batch: Any, told: int, steps: int, rate: float) -> Callable[[], object]:
    """The same update, task after task."""
    shown = model.stream(torch.from_numpy(batch.observation[:-1]))
    answer, trials = torch.from_numpy(batch.privileged["answer"]), batch.reward.shape[1]
    module = copy.deepcopy(model.adaptive)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    numbers, (_, library) = answer.is_floating_point(), peer()

    def error(out: Tensor, right: Tensor) -> Tensor:
        return (out - right).square().mean() if numbers else functional.cross_entropy(out, right)

    def adapted(x: Tensor, right: Tensor) -> Callable[[Tensor], Tensor]:
        if library is not None:
            learner = library(module, rate).clone()
            for _ in range(steps):
                learner.adapt(error(learner(x), right))
            return learner
        weights: dict[str, Tensor] = {**dict(module.named_parameters())}
        for _ in range(steps):
            loss = error(torch.func.functional_call(module, weights, (x,)), right)
            gradient = torch.autograd.grad(loss, [*weights.values()], create_graph=True)
            weights = {n: w - rate * g for (n, w), g in zip(weights.items(), gradient, strict=True)}
        return lambda x: torch.func.functional_call(module, weights, (x,))

    def update() -> None:
        optimiser.zero_grad()
        for trial in range(trials):
            x, right = shown.example[:, trial], answer[:, trial]
            loss = error(adapted(x[:told], right[:told])(x[told:]), right[told:]) / trials
            loss.backward()
        optimiser.step()

    return update


def bare_convolutions(model: nn.Module, images: int) -> Callable[[], object]:
    """Forwards and backwards, and nothing else."""
    convolutions = [each for each in model.modules() if isinstance(each, nn.Conv2d)]
    x = torch.rand(images, 28, 28, 1).movedim(-1, 1)

    def run() -> None:
        out = x
        for convolution in convolutions:
            out = convolution(out)
        out.sum().backward()

    return run


def best_seconds(work: Callable[[], object], runs: int) -> float:
    """The smallest of three medians: what others do on the machine only adds to it."""
    return min(median_seconds(work, runs) for _ in range(3))


def of_maml(options: dict[str, Any], runs: int) -> dict[str, float]:
    config, learner, batch = prepared(options)
    assert isinstance(learner.model, AnswerNetwork)
    told = config.experiment.family.horizon * options["shots"]
    other = one_by_one(learner.model, batch, told, options.get("inner_steps", 1), options["inner_rate"])
    ours, theirs = best_seconds(lambda: learner.update(batch, 0.0), runs), best_seconds(other, runs)
    return {"update_s": ours, "other_s": theirs, "ratio": theirs / ours}


def of_protonet(runs: int) -> dict[str, float]:
    _, learner, batch = prepared(PROTONET)
    bare = best_seconds(bare_convolutions(learner.model, batch.reward.size), runs)
    ours = best_seconds(lambda: learner.update(batch, 0.0), runs)
    return {"update_s": ours, "other_s": bare, "ratio": bare / ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine, gflops = device_name("cpu"), matrix_flops(1) / 1e9
    found = {
        "curves": of_maml(CURVES, options.runs),
        "drawings": of_maml(DRAWINGS, options.runs),
        "protonet": of_protonet(options.runs),
    }
    if options.json:
        print(json.dumps({"processor": machine, "gflops": gflops, "other": peer()[0], **found}, indent=1))
        return
    drawn = Table(title=f"{machine}, one thread, {gflops:.0f} GFLOP/s")
    for column in ("", "update", f"{peer()[0]}, or bare", ""):
        drawn.add_column(column, justify="right")
    for name, (update, other, ratio) in ((name, row.values()) for name, row in found.items()):
        said = f"{ratio:.0%} of bare" if name == "protonet" else f"{ratio:.1f} times as fast"
        drawn.add_row(name, f"{update * 1e3:.1f} ms", f"{other * 1e3:.1f} ms", said)
    Console().print(drawn)


if __name__ == "__main__":
    main()
