"""How a run is doing, seen from outside its process: `innerloop status`.

On the driver's machine the run's directory tells. On a cluster the driver leaves its last metrics line among the logs
of its node, where Ray's dashboard shows it, through its one port, to anyone with the token.
"""

import contextlib
import itertools
import json
import logging
import math
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...envs.errors import BadInput, require
from ...learner.files import plain, reason
from ...learner.places import resolve_path
from ..launch.dashboard import FILES, NODES, ask_for, authentication
from ..runs.lines import HELD_OUT, scan
from ..runs.saved import read_config
from .entries import KNOWN, MEASURE, by_episode, held_out_of, measures_of, statistics
from .told import PREFIX, TOLD, Status

_log = logging.getLogger("innerloop")

WATCH_SECONDS = 2.0
"""Between two looks that are printed one over the other."""


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
    line = {name: value for each in found.lines for name, value in held_out_of(each).items()}
    line |= found.lines[-1] if found.lines else {}
    return Status(name, saved, line, heard, found.warning(place / "metrics.jsonl"))


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
                told = ask_for(address, f"/api/v0/logs/file?{about}", headers, TOLD)
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
        watch: stay, and print again until the run has finished, or Ctrl-C.
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
    parts = {each: f"seconds_{each}" for each in ("waiting", "updating", "broadcasting", "evaluating")}
    spent = {name: run.line[entry] for name, entry in parts.items() if entry in run.line}
    whole = sum(spent.values())
    shares = ", ".join(f"{name} {each / whole if whole else math.nan:.0%}" for name, each in spent.items())
    said = [f"{name} {value:.4g}" for name, value in statistics(line).items()]
    rows += [
        ("iteration", f"{done} of {total}, {_clock(seconds)} so far{left}; {_heard(run)}"),
        ("return", f"{line['return']:.3f} a trial" + (f"; by episode {', '.join(episodes)}" if episodes else "")),
        *([("held out", _held_out(run.line))] if f"{HELD_OUT}return" in run.line else []),
        *((measure.removeprefix(MEASURE), _measure(run.line, measure)) for measure in measures_of(run.line)),
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


def _held_out(line: dict[str, Any]) -> str:
    names = "return", "error", "first_episode", "last_episode", "iteration"
    value, error, first, last, iteration = (line.get(HELD_OUT + name, math.nan) for name in names)
    of = f"; first episode {first:.3f}, last {last:.3f}" if first != value else ""
    return f"{value:.3f} a trial, standard error {error:.2g}{of}; of iteration {iteration:.0f}"


def _measure(line: dict[str, Any], measure: str) -> str:
    by = ", ".join(f"{number}: {value:.3f}" for number, value in by_episode(line, measure).items())
    return f"{line.get(measure, math.nan):.3f} an episode; by episode {by}"


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
