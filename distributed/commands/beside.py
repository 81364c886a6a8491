"""One run of several, in a process of its own: in a cluster that another process has started, with its share of it.

`innerloop beside ADDRESS ACTORS COMMAND OPTIONS…` is what `innerloop train --seeds` and `innerloop reproduce` call;
ADDRESS is empty where the run joins the cluster of its own options.
"""

import contextlib
from functools import partial

from ...envs.errors import require
from ..launch.local import on_loopback
from ..launch.session import joined
from ..trainer import Components, make_pool
from . import reproduce, train

COMMANDS = {"train": train.run, "reproduce": reproduce.run}


def run(rest: list[str]) -> None:
    usable = len(rest) >= 3 and rest[1].isdecimal() and int(rest[1]) >= 1 and rest[2] in COMMANDS
    expected = "an address, a number of actors and a command; innerloop train --seeds calls it"
    require(usable, "beside", " ".join(rest[:3]), expected)
    address, actors, command, *options = rest
    with contextlib.ExitStack() as stack:
        if address:
            stack.enter_context(on_loopback())  # where the clusters are that we start
            stack.enter_context(joined(address))
        COMMANDS[command](options, Components(pool=partial(make_pool, share=int(actors))))
