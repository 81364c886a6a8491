"""One run of several, in a process of its own: in a cluster that another process has started, with its share of it.

`innerloop beside ADDRESS ACTORS OPTIONS…` is what `innerloop train --seeds` calls; ADDRESS is empty where the run joins
the cluster of its own options.
"""

import contextlib
from functools import partial

from ...envs.errors import require
from ..launch.local import on_loopback
from ..launch.session import joined
from ..trainer import Components, make_pool
from . import train


def run(rest: list[str]) -> None:
    usable = len(rest) >= 2 and rest[1].isdecimal() and int(rest[1]) >= 1
    require(usable, "beside", " ".join(rest[:2]), "an address and a number of actors; innerloop train --seeds calls it")
    address, actors, *options = rest
    with contextlib.ExitStack() as stack:
        if address:
            stack.enter_context(on_loopback())  # where the clusters are that we start
            stack.enter_context(joined(address))
        train.run(options, Components(pool=partial(make_pool, share=int(actors))))
