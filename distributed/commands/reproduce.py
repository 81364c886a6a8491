"""`innerloop reproduce`."""

import sys

from ..launch.stopping import Interrupted
from ..papers.reproduce import Reproduce, reproduce
from ..parsing import parse
from ..trainer import Components


def run(rest: list[str], components: Components | None = None) -> None:
    options = parse(Reproduce, rest, "innerloop reproduce")
    try:
        sys.exit(reproduce(options, components))
    except (Interrupted, KeyboardInterrupt) as stopped:
        version = stopped.version if isinstance(stopped, Interrupted) else 0
        raise Interrupted(version, ", and what was trained is saved; the same command goes on") from None
