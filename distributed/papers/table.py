"""What a table of a paper is made of."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple


class Examination(NamedTuple):
    """How the agents of a cell are evaluated, where otherwise than they are trained."""

    family: dict[str, Any]
    """Options of the family."""
    episodes: int
    """Of a trial."""
    counted: slice
    """The episodes whose mean is the figure."""
    algorithm: Mapping[str, Any] = MappingProxyType({})
    """Options of the algorithm."""


class Cell(NamedTuple):
    """One line of a table: a family, a length of trials, and how an agent is trained on it."""

    options: dict[str, Any]
    """Of the family and of training, as `configure` takes them."""
    minutes: float
    """Of training, where the command says nothing else."""
    published: dict[str, float]
    """Column to figure; a column may be missing."""
    after: str = ""
    """The cell whose agents this one's start from, column by column; empty where they start from scratch."""
    agents: str = ""
    """The cell whose agents are evaluated here, too; nothing is trained for this one."""
    examination: Examination | None = None
    """How they are evaluated; None for as they are trained."""
    columns: tuple[str, ...] = ()
    """Those that are trained, or evaluated, in this cell; empty for all."""


class Table(NamedTuple):
    """A table of a paper."""

    about: str
    """What stands in its cells, and where it comes from."""
    measure: Literal["return", "regret", "accuracy", "error"]
    """Of a trial, undiscounted, see `actors.evaluate.evaluate`; or of an answer, % and the squared error."""
    learned: dict[str, dict[str, Any]]
    """Column to the options of its training, in addition to the cell's."""
    cells: dict[str, Cell]
    """By name, as on the command line."""

    def trained(self, cell: str) -> dict[str, dict[str, Any]]:
        """The columns of a cell for which an agent is trained, here or in the cell that it takes its agents from, and
        their options."""
        columns = self.cells[cell].columns or [*self.learned]
        return {column: options for column, options in self.learned.items() if column in columns}
