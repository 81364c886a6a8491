"""`innerloop submit`."""

import sys
from pathlib import Path

from ...envs.errors import require
from ..launch.submit import Submit, submit
from ..options import read_training
from ..parsing import parse


def run(rest: list[str]) -> None:
    at = rest.index("--") if "--" in rest else len(rest)
    options = parse(Submit, rest[:at], "innerloop submit")
    training = rest[at + 1 :]
    if "--help" in training or "-h" in training:
        read_training(training)
    require(bool(training), "the run", "", "-- and the options of innerloop train, as in: -- --preset first")
    addressed = any(each.partition("=")[0] == "--address" for each in training)
    require(not addressed, "address", "after --", "it before: the job runs on the cluster that it is sent to")
    if not any(each.partition("=")[0] == "--resume" for each in training):  # that run is there, not here
        sys.path[:0] = [str(Path(module).resolve().parent) for module in options.modules]
        read_training(training)
    sys.exit(submit(options, training))
