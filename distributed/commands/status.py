"""`innerloop status`."""

from dataclasses import dataclass

import tyro

from ..parsing import parse
from ..watch.status import show


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    """Say how a run is doing: its progress, returns, actors, store and losses."""

    run: tyro.conf.Positional[str] = ""
    """Directory of the run; with --address its name there, or how that begins; empty for the list of all runs there."""
    address: str = ""
    """Of the dashboard of the cluster that it runs on, as http://127.0.0.1:8265."""
    watch: bool = False
    """Keep running, and refresh every two seconds until the run has finished."""
    json: bool = False
    """Print one JSON object instead of a table."""


def run(rest: list[str]) -> None:
    options = parse(StatusOptions, rest, "innerloop status")
    show(options.run, options.address, watch=options.watch, as_json=options.json)
