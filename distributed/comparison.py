"""A paper's table beside what was measured: in the terminal, as Markdown, as JSON and as a picture."""

import json
import re
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Drawing

from ..learner.checkpoint import write_whole
from .published import Table

Results = dict[str, dict[str, Any]]
"""By cell, what `result.json` holds."""


def write(table: Table, name: str, out: Path) -> None:
    """Print the table as far as it is there, and write `table.md`, `table.json` and `table.png`.

    Args:
        table: what was published.
        name: as on the command line.
        out: the directory of its cells; other things in it are left alone.
    """
    found = [json.loads(file.read_text()) for file in out.glob("*/result.json")]
    results = {cell: each for cell in table.cells for each in found if each["cell"] == cell}
    if not results:
        return
    write_whole(str(out / "table.md"), markdown(table, name, results).encode())
    write_whole(str(out / "table.json"), json.dumps(document(table, name, results), indent=1).encode())
    picture(table, results, out / "table.png")
    header, *lines = rows(table, results)
    drawing = Drawing(*header, title=name, caption=table.about, box=box.SIMPLE_HEAD)
    for line in lines:
        drawing.add_row(*line)
    Console().print(drawing)
    print(f"written: {out / 'table.md'}, table.json, table.png")


def columns(table: Table, results: Results) -> list[str]:
    """The paper's first, in their order; then what was measured beside them."""
    published = [column for cell in table.cells.values() for column in cell.published]
    measured = [column for result in results.values() for column in result["measured"]]
    return [*dict.fromkeys([*published, *measured])]


def rows(table: Table, results: Results) -> list[list[str]]:
    """A header, and for every column of the table a line: cell by cell what was published, if anything was, and what
    was measured."""
    names = columns(table, results)
    header, lines = [""], [[name] for name in names]
    for cell, result in results.items():
        published = table.cells[cell].published
        header += [f"{cell} published", "measured"] if published else [cell]
        for name, line in zip(names, lines, strict=True):
            line += [f"{published[name]:g}" if name in published else ""] if published else []
            line.append(_measured(result["measured"].get(name), table.measure))
    return [header, *lines]


def _measured(found: dict[str, Any] | None, measure: str) -> str:
    """A mean and half the width of its 95 % interval."""
    if found is None:
        return ""
    interval = found[measure]
    half = (interval["high"] - interval["low"]) / 2
    digits = 2 if interval["mean"] < 100 else 1
    return f"{interval['mean']:.{digits}f} ± {half:.{digits}f}"


def markdown(table: Table, name: str, results: Results) -> str:
    """The table, and how long its agents were trained."""
    header, *lines = rows(table, results)
    tasks = " or ".join(f"{number:,}" for number in sorted({result["tasks"] for result in results.values()}))
    text = [f"# {name}", "", table.about, ""]
    text += [f"Measured on {tasks} held-out tasks, ± half the width of the 95 % bootstrap interval over tasks.", ""]
    text += ["| " + " | ".join(line) + " |" for line in (header, ["---", *["---:"] * (len(header) - 1)], *lines)]
    text += ["", "| trained | minutes | iterations | environment steps |", "| --- | ---: | ---: | ---: |"]
    for cell, result in results.items():
        after = table.cells[cell].after
        begun = f", from that of {after} on" if after else ""
        for column, run in result["trained"].items():
            figures = f"{run['minutes']:.1f} | {run['iterations']:,.0f} | {run['env_steps']:,.0f}"
            text.append(f"| {cell}: {column}{begun} | {figures} |")
    return "\n".join([*text, ""])


def document(table: Table, name: str, results: Results) -> dict[str, Any]:
    """The same with every figure: table, about, measure, cells; of each published, measured, trained, tasks, seed."""
    cells = {
        cell: {
            "published": table.cells[cell].published,
            "measured": {column: found[table.measure] for column, found in result["measured"].items()},
            **{key: result[key] for key in ("trained", "tasks", "seed")},
        }
        for cell, result in results.items()
    }
    return {"table": name, "about": table.about, "measure": table.measure, "cells": cells}


def picture(table: Table, results: Results, file: Path) -> None:
    """A panel for every cell: rings are published, dots with intervals measured."""
    from .plot import pyplot  # not above: matplotlib takes a second

    names = columns(table, results)
    across = min(3, len(results))
    down = -(-len(results) // across)
    size = (4.2 * across, (0.24 * len(names) + 0.9) * down)
    figure, panels = pyplot.subplots(down, across, figsize=size, layout="constrained", squeeze=False, sharey=True)
    for panel in panels.flat[len(results) :]:
        panel.set_axis_off()
    for panel, (cell, result) in zip(panels.flat, results.items(), strict=False):
        for place, column in enumerate(names):
            if column in table.cells[cell].published:
                panel.plot(table.cells[cell].published[column], place, "o", color="C1", fillstyle="none")
            if column in result["measured"]:
                found = result["measured"][column][table.measure]
                colour = "C3" if column in table.learned else "C0"
                panel.plot([found["low"], found["high"]], [place, place], color=colour)
                panel.plot(found["mean"], place, ".", color=colour)
        panel.set_title(cell, fontsize="medium")
        panel.grid(axis="x", alpha=0.3)
        panel.set_yticks(range(len(names)), [re.sub(", true prior", "*", name) for name in names], fontsize="small")
    panels[0, 0].invert_yaxis()
    figure.supxlabel(
        f"{table.measure} of a trial; rings: published, dots: measured (red: trained)"
        + (", *: with the true prior" if any("true prior" in name for name in names) else ""),
        fontsize="small",
    )
    figure.savefig(file, dpi=150)
    pyplot.close(figure)
