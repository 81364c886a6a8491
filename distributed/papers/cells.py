"""Which cells and columns of a table are asked for."""

from typing import Any

from ...envs.errors import BadInput, require
from .comparison import file_name
from .table import Cell, Table


def check_table(table: Table) -> None:
    """Raises:
    BadInput: cells or columns that would share a directory, or a cell that starts from none before it.
    """
    for kind, names in (("cells", [*table.cells]), ("columns", [*table.learned])):
        files = [file_name(name) for name in names]
        apart = len({*files}) == len(files) and not {*files} & {"", ".", ".."}
        require(apart, f"{kind} of the table", " ".join(names), "names that differ in letters and digits")
    known = [""]
    for name, cell in table.cells.items():
        for other in (cell.after, cell.agents):
            require(other in known, f"the cell before {name!r}", other, "one that stands above it in the table")
        known.append(name)


def resolve_cell(name: str, table: Table) -> Cell:
    """Raises:
    BadInput: no such cell; the message lists them.
    """
    if name not in table.cells:
        raise BadInput(f"cells is {name!r}; expected some of {' '.join(table.cells)}.")
    return table.cells[name]


def in_order(cells: tuple[str, ...], table: Table) -> list[str]:
    """These cells and, where something is trained, those that they start from, in the table's order."""
    needed = {*cells}
    for name in reversed(table.cells if table.learned else ()):
        needed |= {table.cells[name].after, table.cells[name].agents} if name in needed else set()
    return [name for name in table.cells if name in needed]


def chosen(columns: tuple[str, ...], table: Table) -> dict[str, dict[str, Any]]:
    """What is trained of a table; a column goes by the name of its directories, too, and none is no column.

    Raises:
        BadInput: no such column; the message lists them.
    """
    if columns == ("none",):
        return {}
    require("none" not in columns, "columns", " ".join(columns), "none alone, or columns")
    names = {file_name(column): column for column in table.learned}
    for given in columns:
        if file_name(given) not in names:
            raise BadInput(f"columns is {given!r}; expected some of {' '.join(names)}, or none.")
    asked = [file_name(given) for given in columns] or [*names]
    require(len({*asked}) == len(asked), "columns", " ".join(columns), "each of them once")
    return {column: table.learned[column] for name, column in names.items() if name in asked}
