"""A paper's table beside what was measured: in the terminal, as Markdown, as JSON and as a picture."""

import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter
from rich import box
from rich.console import Console
from rich.table import Table as Drawing
from rich.text import Text
from typing_extensions import TypedDict

from ...actors.intervals import Interval, over_seeds
from ...envs.errors import BadInput, require
from ...learner.files import Count, Finite, plain, read_json, to_json, write_whole
from ..runs.saved import SavedInterval
from .table import Table

Amount = Annotated[Finite, Field(ge=0)]


class Trained(TypedDict):
    """How far a column's agent has been trained."""

    iterations: Amount
    env_steps: Amount
    minutes: Amount


Measured = TypedDict(
    "Measured",
    {
        "return": SavedInterval,
        "regret": NotRequired[SavedInterval | None],
        "accuracy": NotRequired[SavedInterval | None],
        "error": NotRequired[SavedInterval | None],
    },
)
"""Of a trial; of an answer, % and the squared error."""


class CellResult(TypedDict):
    """`result.json`: of a cell, what was measured by column, and how far the columns were trained that are."""

    cell: str
    tasks: Count
    seed: Count
    """Of the held-out tasks."""
    measured: dict[str, Measured]
    trained: dict[str, Trained]
    seeds: NotRequired[dict[str, list[Measured]]]
    """Of the columns that several seeds were trained for, what each of them measured; `measured` is of all together,
    `trained` their mean."""


class Written(TypedDict):
    """Of `table.json`, what says that it is ours."""

    table: str


_RESULT: TypeAdapter[CellResult] = TypeAdapter(CellResult)
_WRITTEN: TypeAdapter[Written] = TypeAdapter(Written)
Results = dict[str, CellResult]
"""By cell."""


SHOWN = {
    "return": "return of a trial", "regret": "regret of a trial", "accuracy": "% right", "error": "squared error"
}  # fmt: skip
"""What a measure is called in a picture."""


def file_name(text: str) -> str:
    """Of a cell or a column."""
    return re.sub(r"[^\w.-]", "-", text.replace("²", "2")).lower()


def read_result(out: Path, cell: str) -> CellResult | None:
    """Of a cell, in the directory of its table; None if it is not there.

    Raises:
        BadInput: it cannot be used, or is another cell's.
    """
    file = out / file_name(cell) / "result.json"
    try:
        found = read_json(_RESULT, file, "the results of a cell")
    except FileNotFoundError:
        return None
    require(
        found["cell"] == cell, f"the cell of {str(file)!r}", found["cell"], f"{cell!r}; delete it, or name another out"
    )
    return found


def together(found: Sequence[CellResult]) -> CellResult:
    """The results of a cell that are of one seed each, as one; those on other tasks than the first's are left out."""
    first = found[0]
    found = [each for each in found if each["tasks"] == first["tasks"]]
    columns = {name: [each["measured"][name] for each in found if name in each["trained"]] for name in first["trained"]}
    columns = {name: seeds for name, seeds in columns.items() if len(seeds) > 1}
    if not columns:
        return first
    measured: dict[str, Measured] = {}
    trained: dict[str, Trained] = {}
    for name, seeds in columns.items():
        whole: Measured = {"return": _over_seeds([each["return"] for each in seeds])}
        for measure in ("regret", "accuracy", "error"):
            found_ = [interval for each in seeds if (interval := each.get(measure))]
            whole[measure] = _over_seeds(found_) if len(found_) == len(seeds) else None
        measured[name] = whole
        runs = [each["trained"][name] for each in found if name in each["trained"]]
        trained[name] = {
            "iterations": statistics.fmean(run["iterations"] for run in runs),
            "env_steps": statistics.fmean(run["env_steps"] for run in runs),
            "minutes": statistics.fmean(run["minutes"] for run in runs),
        }
    return {
        **first,
        "measured": first["measured"] | measured,
        "trained": first["trained"] | trained,
        "seeds": columns,
    }


def _over_seeds(found: Sequence[SavedInterval]) -> SavedInterval:
    every = over_seeds([Interval(each["mean"], each["low"], each["high"]) for each in found])
    return {"mean": every.mean, "low": every.low, "high": every.high}


def check_place(name: str, out: Path) -> None:
    """Refuse to write over what this did not write.

    Args:
        name: of the table, as on the command line.
        out: the directory of its cells.

    Raises:
        BadInput: another table is there, or files with the names of ours.
    """
    # Looked for before table.json, which is written before them: another cell may be writing.
    others = [each for each in ("table.md", "table.png") if os.path.lexists(out / each)]
    try:
        found = read_json(_WRITTEN, out / "table.json", "a table of ours")
    except FileNotFoundError:
        if others:
            raise BadInput(
                f"out is {str(out)!r}, which holds a {others[0]} and no table.json; expected a directory without, or "
                "one that this command has written to."
            ) from None
        return
    require(found["table"] == name, f"the table of {str(out / 'table.json')!r}", found["table"], f"{name!r}")


def write(table: Table, name: str, out: Path, seeds: Sequence[Path] = ()) -> None:
    """Print the table as far as it is there, and write `table.md`, `table.json` and `table.png`.

    Args:
        table: what was published.
        name: as on the command line.
        out: where they are written; other things in it are left alone.
        seeds: the directories of the cells, one for each seed; `out` itself where none are given.

    Raises:
        BadInput: a result cannot be used; nothing has been written.
    """
    by_seed = {cell: [found for place in seeds or [out] if (found := read_result(place, cell))] for cell in table.cells}
    results = {cell: together(found) for cell, found in by_seed.items() if found}
    if not results:
        return
    write_whole(str(out / "table.json"), to_json(document(table, name, results)))
    write_whole(str(out / "table.md"), markdown(table, name, results).encode())
    write_whole(str(out / "table.png"), picture(table, results))
    header, *lines = rows(table, results)
    drawing = Drawing(title=Text(name), caption=Text(table.about), box=box.SIMPLE_HEAD)
    for cell in header:
        drawing.add_column(Text(cell))
    for line in lines:
        drawing.add_row(*map(Text, line))
    Console().print(drawing)
    print(f"written: {out / 'table.md'}, table.json, table.png")


def columns(table: Table, results: Results) -> list[str]:
    """The paper's columns first, in their order; then those that were measured in addition."""
    published = [column for cell in table.cells.values() for column in cell.published]
    measured = [column for result in results.values() for column in result["measured"]]
    return [*dict.fromkeys([*published, *measured])]


def rows(table: Table, results: Results) -> list[list[str]]:
    """A header, and for every column of the table a line: cell by cell what was published, if anything was, and what
    was measured."""
    names = columns(table, results)
    header, lines = [""], [[plain(name)] for name in names]
    for cell, result in results.items():
        published = table.cells[cell].published
        header += [f"{cell} published", "measured"] if published else [cell]
        for name, line in zip(names, lines, strict=True):
            line += [f"{published[name]:g}" if name in published else ""] if published else []
            line.append(_measured(result["measured"].get(name), table.measure))
    return [header, *lines]


def _measured(found: Measured | None, measure: str) -> str:
    """A mean and half the width of its 95 % interval; nothing where that was not measured."""
    interval = found.get(measure) if found else None
    if interval is None:
        return ""
    half = (interval["high"] - interval["low"]) / 2
    digits = 3 if measure == "error" else 2 if interval["mean"] < 100 else 1
    return f"{interval['mean']:.{digits}f} ± {half:.{digits}f}"


def markdown(table: Table, name: str, results: Results) -> str:
    """The table, and how long its agents were trained."""
    header, *lines = rows(table, results)
    tasks = " or ".join(f"{number:,}" for number in sorted({result["tasks"] for result in results.values()}))
    text = [f"# {name}", "", table.about, ""]
    text += [f"Measured on {tasks} held-out tasks, ± half the width of the 95 % bootstrap interval over tasks.", ""]
    if seeds := {len(each) for result in results.values() for each in result.get("seeds", {}).values()}:
        number = " or ".join(map(str, sorted(seeds)))
        text += [f"Of trained columns, the mean over {number} seeds; its interval is over seeds and tasks.", ""]
    text += ["| " + " | ".join(line) + " |" for line in (header, ["---", *["---:"] * (len(header) - 1)], *lines)]
    text += ["", "| trained | minutes | iterations | environment steps |", "| --- | ---: | ---: | ---: |"]
    for cell, result in results.items():
        after = table.cells[cell].after
        begun = f", from that of {after} on" if after else ""
        for column, run in result["trained"].items():
            figures = f"{run['minutes']:.1f} | {run['iterations']:,.0f} | {run['env_steps']:,.0f}"
            seeds = len(result.get("seeds", {}).get(column, []))
            said = f", mean of {seeds} seeds" if seeds else ""
            text.append(f"| {cell}: {plain(column)}{begun}{said} | {figures} |")
    return "\n".join([*text, ""])


def document(table: Table, name: str, results: Results) -> dict[str, Any]:
    """The same with every figure: table, about, measure, cells; of each published, measured, trained, tasks, seed, and
    of several seeds what each measured."""
    cells = {
        cell: {
            "published": table.cells[cell].published,
            "measured": {column: found.get(table.measure) for column, found in result["measured"].items()},
            **{key: result[key] for key in ("trained", "tasks", "seed")},
            **({"seeds": _seeds(result["seeds"], table.measure)} if "seeds" in result else {}),
        }
        for cell, result in results.items()
    }
    return {"table": name, "about": table.about, "measure": table.measure, "cells": cells}


def _seeds(columns: dict[str, list[Measured]], measure: str) -> dict[str, list[SavedInterval | None]]:
    return {name: [each.get(measure) for each in seeds] for name, seeds in columns.items()}


def picture(table: Table, results: Results) -> bytes:
    """A panel for every cell, as PNG: rings are published, dots with intervals measured."""
    from ..runs.plot import canvas, drawable, label  # not above: matplotlib takes a second

    names = columns(table, results)
    across = min(3, len(results))
    down = -(-len(results) // across)
    size = (4.2 * across, (0.24 * len(names) + 0.9) * down)
    pictures: dict[str, bytes] = {}
    with canvas(size, pictures, "table.png") as figure:
        panels = figure.subplots(down, across, squeeze=False, sharey=True)
        for panel in panels.flat[len(results) :]:
            panel.set_axis_off()
        for panel, (cell, result) in zip(panels.flat, results.items(), strict=False):
            for place, column in enumerate(names):
                if column in table.cells[cell].published:
                    panel.plot(table.cells[cell].published[column], place, "o", color="C1", fillstyle="none")
                found = result["measured"][column].get(table.measure) if column in result["measured"] else None
                if found:
                    colour = "C3" if column in table.learned else "C0"
                    panel.plot([drawable(found["low"]), drawable(found["high"])], [place, place], color=colour)
                    panel.plot(drawable(found["mean"]), place, ".", color=colour)
            panel.set_title(label(cell), fontsize="medium")
            panel.grid(axis="x", alpha=0.3)
            shown = [label(re.sub(", true prior", "*", name)) for name in names]
            panel.set_yticks(range(len(names)), shown, fontsize="small")
        panels[0, 0].invert_yaxis()
        figure.supxlabel(
            f"{SHOWN[table.measure]}; rings: published, dots: measured (red: trained)"
            + (", *: with the true prior" if any("true prior" in name for name in names) else ""),
            fontsize="small",
        )
    return pictures["table.png"]
