"""How a run is doing, for whoever is not in its process: `innerloop status`.

On the driver's machine the run's directory tells. On a cluster the driver leaves its last metrics line among the logs
of its node, where Ray's dashboard shows it, through its one port, to whoever has the token.
"""

import contextlib
import itertools
import json
import logging
import math
import os
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pydantic import TypeAdapter
from ray._private import worker
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import TypedDict

from ..envs.errors import BadInput, require
from ..learner.files import Finite, Number, plain, reason
from ..learner.places import resolve_path
from .config import Config
from .dashboard import FILES, NODES, ask_for, authentication
from .metrics import scan
from .saved import SavedConfig, read_config
from .telemetry import KNOWN, by_episode, statistics

_log = logging.getLogger("innerloop")

PREFIX = "innerloop-"
"""Begins the names of the files among a node's logs; the run's name follows."""
WRITE_SECONDS = 1.0
"""Between two lines left among the logs, at least."""


WATCH_SECONDS = 2.0
"""Between two looks that are printed one over the other."""


class Status(NamedTuple):
    """A run, as it was last heard of."""

    name: str
    config: dict[str, Any]
    """As saved (see `SavedConfig`); not resolved, because its plug-ins may be missing here."""
    line: dict[str, Any]
    """The last line of metrics; empty before the first iteration."""
    time: float
    """When that was, in seconds since the epoch."""
    warning: str = ""
    """What of its metrics cannot be read."""

    @property
    def finished(self) -> bool:
        return self.line.get("iteration", 0) >= self.config["run"]["iterations"] or self._minutes_left == 0

    @property
    def _minutes_left(self) -> float | None:
        """Of training, where the run is bounded by that."""
        minutes = self.config["run"].get("minutes", 0)
        left = minutes - self.line.get("seconds", 0) / 60
        return max(0.0, left) if minutes > 0 and not math.isnan(left) else None

    @property
    def seconds_left(self) -> float:
        """Until it has finished, as far as can be told after its first iteration; else NaN."""
        done, seconds = self.line.get("iteration", 0), self.line.get("seconds", math.nan)
        by_iterations = seconds * max(0, self.config["run"]["iterations"] / done - 1) if done > 0 else math.nan
        return by_iterations if self._minutes_left is None else min(60 * self._minutes_left, by_iterations)


class _Notice(TypedDict):
    """What a `Notice` leaves, which may be another user's, or another version's."""

    name: str
    config: SavedConfig
    line: dict[str, Number]
    time: Finite


_NOTICE: TypeAdapter[_Notice] = TypeAdapter(_Notice)


class Notice:
    """The file among the logs of the driver's node."""

    def __init__(self, config: Config) -> None:
        """Args:
        config: of the run, as resolved. Ray must be there.
        """
        node, self._name, self._saved = worker.global_worker.node, config.run.name, config.to_json()
        readable = re.sub(r"[^\w.-]", "_", self._name)
        self._file = Path(node.get_logs_dir_path()) / f"{PREFIX}{readable}.json" if node else None
        self._newest = Status(self._name, self._saved, {}, time.time())
        self._written = 0.0
        self._write()

    def write(self, line: dict[str, Any]) -> None:
        """Leave this line instead of the one before; at most once a second."""
        self._newest = Status(self._name, self._saved, line, time.time())
        if self._newest.time - self._written >= WRITE_SECONDS:
            self._write()

    def close(self) -> None:
        """Leave the last line."""
        self._write()

    def _write(self) -> None:
        self._written = self._newest.time
        if self._file:
            part = self._file.with_suffix(".part")
            with contextlib.suppress(OSError):  # a full disk is for the checkpoints to report
                part.write_text(json.dumps(self._newest._asdict()))
                os.replace(part, self._file)


def of_directory(run: str | Path) -> Status:
    """Of the run in a directory.

    Raises:
        BadInput: there is none, or a file of it cannot be used.
    """
    place = resolve_path("run", run)
    config, found = read_config(place), scan(place / "metrics.jsonl")
    require(config is not None, "run", str(run), "the directory of a run, with a config.json")
    newest = place / ("metrics.jsonl" if found.lines else "config.json")
    try:
        heard = newest.stat().st_mtime
    except OSError as error:
        raise BadInput(
            f"run is {str(run)!r}, which has just gone ({reason(error)}); expected one that stays."
        ) from None
    saved: dict[str, Any] = {**config} if config else {}
    name = saved["run"].get("name") or place.name
    return Status(name, saved, found.lines[-1] if found.lines else {}, heard, found.warning(place / "metrics.jsonl"))


def of_cluster(address: str) -> list[Status]:
    """Of the runs on a cluster, the one last heard of first.

    Args:
        address: of the cluster's dashboard.

    Raises:
        BadInput: no dashboard answers there, or it does not let us in.
    """
    fits = re.fullmatch(r"https?://[^/@\s]+/?", address) is not None
    shown = re.sub("//.*@", "//…@", address)  # not its password
    require(fits, "address", shown, "the dashboard's, as http://host:port")
    address = address.rstrip("/")
    headers = authentication(address)

    found: dict[str, Status] = {}
    silent = False
    for node in ask_for(address, "/api/v0/nodes?limit=10000", headers, NODES)["data"]["result"]["result"]:
        if node["state"] != "ALIVE":
            continue
        place = node["node_id"]
        try:
            about = urlencode({"node_id": place, "glob": f"{PREFIX}*.json"})
            files = ask_for(address, f"/api/v0/logs?{about}", headers, FILES)["data"]["result"]
        except BadInput:  # it is only just coming up, or going
            silent = True
            continue
        for file in itertools.chain.from_iterable(files.values()):
            about = urlencode({"node_id": place, "filename": file, "lines": "-1"})
            try:
                told = ask_for(address, f"/api/v0/logs/file?{about}", headers, _NOTICE)
            except BadInput as error:  # another user's, another version's: no reason not to show the others
                _log.warning("%s of node %s is left out: %s", plain(file), plain(place), error)
                continue
            run = Status(told["name"], {**told["config"]}, told["line"], told["time"])
            found[run.name] = run  # several nodes of one machine may share their logs
    if silent and not found:
        raise BadInput(f"address is {address!r}, where not every node answers yet; expected a cluster that is up.")
    return sorted(found.values(), key=lambda each: -each.time)


def show(run: str, address: str, *, watch: bool, as_json: bool) -> None:
    """Print a run, or all runs of a cluster.

    Args:
        run: its directory; with an address its name there, or how that begins; empty for all.
        address: see `of_cluster`; empty for the directory.
        watch: stay, and print anew until the run has finished, or Ctrl-C.
        as_json: JSON instead of a table.

    Raises:
        BadInput: there is no such run, or no such cluster.
    """
    require(bool(run or address), "run", run, "the directory of a run, or --address of a cluster")
    require(not (watch and as_json), "json", as_json, "nothing beside --watch")

    def look() -> list[Status]:
        if not address:
            return [of_directory(run)]
        runs = of_cluster(address)
        return [one_of(runs, run, address)] if run else runs

    def drawn(runs: list[Status]) -> Table:
        return details(runs[0]) if run else overview(runs)

    runs = look()
    if as_json:
        print(json.dumps(runs[0]._asdict() if run else [each._asdict() for each in runs], indent=1))
    elif not watch:
        Console().print(drawn(runs))
    else:
        with Live(drawn(runs), auto_refresh=False) as screen, contextlib.suppress(KeyboardInterrupt):
            while not (run and runs[0].finished):
                time.sleep(WATCH_SECONDS)
                runs = look()
                screen.update(drawn(runs), refresh=True)


def one_of(runs: list[Status], name: str, address: str) -> Status:
    """The run of that name, or the one whose name begins so; without a name the one last heard of.

    Raises:
        BadInput: there is none.
    """
    matching = [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    if not matching:
        known = ", ".join(plain(run.name) for run in runs) or "none yet"
        raise BadInput(f"run is {name!r}; expected one of the runs at {address}: {known}.")
    return matching[0]


def overview(runs: list[Status]) -> Table:
    """A line for each run."""
    table = Table("run", "iteration", "return", "steps/s", "actors", "heard of", box=None, header_style="bold")
    for run in runs:
        line = dict.fromkeys(KNOWN, math.nan) | run.line
        numbers = (f"{line['return']:.3f}", f"{line['env_steps_per_s']:,.0f}", f"{line['actors_alive']}")
        progress = f"{run.line.get('iteration', 0)}/{run.config['run']['iterations']}"
        cells = (plain(run.name), progress, *(numbers if run.line else ("", "", "")), _heard(run))
        table.add_row(*map(Text, cells))  # as they are: a name is another user's, and no markup
    return table


def details(run: Status) -> Table:
    """All that the last line of metrics says."""
    table = Table.grid("", "", padding=(0, 2))
    table.columns[0].style = "bold"
    for name, text in _rows(run):
        table.add_row(Text(plain(name)), Text(plain(text, most=10_000)))
    return table


def _rows(run: Status) -> list[tuple[str, str]]:
    config, line = run.config, dict.fromkeys(KNOWN, math.nan) | run.line  # another version may say less
    total = config["run"]["iterations"]
    what = f"{config['algorithm']['name']} on {config['family']['name']}, {config['run']['mode']}"
    rows = [("run", f"{run.name}: {what}")]
    if not run.line:
        return [*rows, ("iteration", f"0 of {total}, {_heard(run)}")]
    done, seconds = line["iteration"], line["seconds"]
    left = "" if run.finished else f", about {_clock(run.seconds_left)} left"
    episodes = [f"{number}: {value:.3f}" for number, value in by_episode(line).items()]
    parts = {"waiting": "seconds_waiting", "updating": "seconds_updating", "broadcasting": "seconds_broadcasting"}
    whole = sum(line[entry] for entry in parts.values())
    shares = ", ".join(f"{name} {line[entry] / whole if whole else math.nan:.0%}" for name, entry in parts.items())
    said = [f"{name} {value:.4g}" for name, value in statistics(line).items()]
    rows += [
        ("iteration", f"{done} of {total}, {_clock(seconds)} so far{left}; {_heard(run)}"),
        ("return", f"{line['return']:.3f} a trial" + (f"; by episode {', '.join(episodes)}" if episodes else "")),
        ("played", f"{line['env_steps']:,} steps, {line['trials']:,} trials, {line['env_steps_per_s']:,.0f} steps/s"),
        ("actors", f"{line['actors_alive']} of {line['actors_wanted']}, {line['restarts']} replaced"),
        ("staleness", f"{line['staleness']:.2f} updates, at most {line['staleness_max']}"),
        ("learner", f"{whole:.3g} s an iteration: {shares}"),
        ("update", ", ".join(said) or "nothing to say"),
        ("store", _store(run.line)),
        (
            "lost",
            f"{line['dropped_stale']} trajectories dropped as stale, {line['dropped_lost']} lost with their node, "
            f"{line['lost_trials']} trials played again, {line['diverged']} episodes diverged",
        ),
    ]
    if line["gpu_bytes"] > 0:
        rows.append(("GPU", f"{line['gpu_bytes'] / 1e9:.2f} GB held by the learner"))
    return [*rows, ("metrics", run.warning)] if run.warning else rows


def _store(line: dict[str, Any]) -> str:
    waiting = f"{line.get('store_waiting', 0)} trajectories waiting"
    if "replay_trials" not in line:
        return waiting
    line = dict.fromkeys(KNOWN, math.nan) | line
    return (
        f"{waiting}; replay {line['replay_trials']:,} trials, {line['replay_bytes'] / 1e6:,.1f} MB, "
        f"{line['replay_evicted']:,} made room, {line['replay_lost']:,} lost with their shard"
    )


def _heard(run: Status) -> str:
    return "finished" if run.finished else f"heard of {_clock(time.time() - run.time)} ago"


def _clock(seconds: float) -> str:
    """Days, hours, minutes and seconds; nothing that a clock shows, where it is no number or above a thousand years."""
    return str(timedelta(seconds=max(0, round(seconds)))) if abs(seconds) < 3e10 else "an unknown time"
