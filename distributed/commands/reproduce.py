"""`innerloop reproduce`."""

import sys

from ..launch.stopping import Interrupted
from ..papers.reproduce import Reproduce, reproduce
from ..parsing import parse


def run(rest: list[str]) -> None:
    options = parse(Reproduce, rest, "innerloop reproduce")
    try:
        sys.exit(reproduce(options))
    except (Interrupted, KeyboardInterrupt) as stopped:
        version = stopped.version if isinstance(stopped, Interrupted) else 0
        raise Interrupted(version, ", and what was trained is saved; the same command goes on") from None
