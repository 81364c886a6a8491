"""`innerloop train`."""

import json
import shlex
from typing import Any

from rich.console import Console

from ...actors.agent import Agent, find_checkpoint
from ...actors.report import evaluation, table
from ...learner.best import parse_best
from ...learner.files import write_whole
from ...learner.places import resolve_path
from ..config import Config
from ..launch.stopping import Interrupted
from ..options import read_training
from ..runs.display import Display
from ..runs.scores import SCORES
from ..trainer import Components, resume, train
from .seeds import train_seeds


def run(rest: list[str], components: Components | None = None) -> None:
    options, config = read_training(rest)
    named = options.preset or config.experiment.family_name.replace(":", ".")
    out = options.resume or options.out or f"runs/{named}"
    if options.seeds:
        parallel, overwrite = options.parallel, options.overwrite
        train_seeds(config, rest, out, seeds=options.seeds, parallel=parallel, overwrite=overwrite)
        return
    # From here on the plug-ins are those that were named, or trusted, above.
    trusted = [config.experiment.family_name, config.experiment.algorithm_name]
    trusted = options.trust_plugins or not options.resume or trusted
    with Display(config.run) as display:
        how: dict[str, Any] = {"watch": display, "say": display.waits, "components": components or Components()}
        try:
            if options.resume:
                resume(out, config, trust_plugins=trusted, **how)
            else:
                train(config, out, overwrite=options.overwrite, **how)
        except Interrupted as stopped:
            raise Interrupted(stopped.version, f"; go on with: innerloop train --resume {shlex.quote(out)}") from None
    try:
        _report(out, config, trusted)
    except KeyboardInterrupt:
        run = shlex.quote(out)
        raise Interrupted(
            config.run.iterations, f", in its evaluation; the agent is saved: innerloop evaluate {run}"
        ) from None


def _report(out: str, config: Config, trusted: bool | list[str]) -> None:
    """What follows training: evaluation, table and plots."""
    directory = resolve_path("out", out)
    if config.run.evaluation_tasks:
        agent = Agent.load(out, episodes=config.run.evaluation_episodes, trust_plugins=trusted)
        with Console(stderr=True).status(f"evaluating on {config.run.evaluation_tasks:,} tasks"):
            # The same held-out tasks whatever the run's seed, so that runs are compared on them.
            result = evaluation(agent, tasks=config.run.evaluation_tasks, seed=0, scores=directory / SCORES)
        write_whole(directory / "evaluation.json", json.dumps(result, indent=1).encode())
        Console().print(table(result, directory.name))
    from ..runs.plot import plot  # not above: matplotlib takes a second

    for file in plot([directory], directory):
        print(f"plot: {file}")
    saved = find_checkpoint(out)
    if best := parse_best(saved.arrays, last := int(saved.numbers["version"])):
        told = f"iteration {best.iteration} (return {best.trial_return:.3f}); the last is of iteration {last}"
        print(f"best checkpoint on held-out tasks: {told}")
    print(f"agent: innerloop.actors.agent.Agent.load({out!r})")
