"""What is learned and how: a family, an algorithm, the length of a trial. From names and options, and back to JSON."""

import dataclasses
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium

from ..envs import FAMILIES
from ..envs.api import TaskFamily
from ..envs.errors import BadInput, raised_by, require
from ..envs.registry import resolve
from .api import Algorithm, Problem

LONGEST_TRIAL = 10**8
"""Steps."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that an agent must know to be built again; saved with every checkpoint."""

    family_name: str
    """A name in `envs.FAMILIES`, or package.module:attribute."""
    family: TaskFamily
    algorithm_name: str
    """A name in `learner.ALGORITHMS`, or package.module:attribute."""
    algorithm: Algorithm
    episodes: int
    """Episodes in a trial."""

    def __post_init__(self) -> None:
        require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        for kind, name, thing in (
            ("family", self.family_name, self.family),
            ("algorithm", self.algorithm_name, self.algorithm),
        ):
            missing = [part for part in _parts(kind) if not _has(kind, name, thing, part)]
            require(not missing, kind, name, f"an object with {', '.join(missing)}")
        for field in ("observation_space", "action_space"):
            space = getattr(self.family, field)
            require(isinstance(space, gymnasium.Space), f"{field} of the family", space, "a gymnasium.Space")
        try:
            horizon = operator.index(self.family.horizon)
        except TypeError:
            horizon = 0
        require(horizon >= 1, "horizon of the family", self.family.horizon, "a whole number of at least 1")
        steps = self.episodes * horizon
        require(steps <= LONGEST_TRIAL, "episodes", self.episodes, f"trials of at most {LONGEST_TRIAL:,} steps")

    @property
    def problem(self) -> Problem:
        """What the model is built from."""
        family = self.family
        return Problem(family.observation_space, family.action_space, self.episodes, family.horizon)

    def to_json(self) -> dict[str, Any]:
        """Names and options, as plain values."""
        return {
            "family": {"name": self.family_name} | options_of(self.family),
            "algorithm": {"name": self.algorithm_name} | options_of(self.algorithm),
            "episodes": self.episodes,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Experiment":
        """The inverse of `to_json`; keys beside its own are left alone.

        Raises:
            BadInput: a name or an option that is not known, or a value that is out of range.
        """
        from . import ALGORITHMS

        try:
            family, algorithm, episodes = dict(data["family"]), dict(data["algorithm"]), data["episodes"]
            names = family.pop("name"), algorithm.pop("name")
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"the saved configuration lacks {error}; expected family, algorithm and episodes."
            ) from error
        check_type("episodes", episodes, 10)
        for kind, name in zip(("family", "algorithm"), names, strict=True):
            check_type(f"the name of the {kind}", name, "")
        return cls(
            family_name=names[0],
            family=construct("family", names[0], FAMILIES, family),
            algorithm_name=names[1],
            algorithm=construct("algorithm", names[1], ALGORITHMS, algorithm),
            episodes=episodes,
        )


def options_of(thing: object) -> dict[str, Any]:
    """The fields of a dataclass instance as plain values; nothing for any other object."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type) and is_configurable(type(thing)):
        return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    return {}


def is_configurable(found: object) -> bool:
    """A dataclass type whose every field has a default: its fields are options."""
    return isinstance(found, type) and all(
        field.default is not dataclasses.MISSING
        for field in (dataclasses.fields(found) if dataclasses.is_dataclass(found) else ())
    )


def construct(kind: str, name: str, known: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]) -> Any:
    """Make the thing that `name` names, with its options. A plug-in may also name a finished object, without options.

    Raises:
        BadInput: the name or an option is not known, or a value has the wrong type or range.
    """
    found = resolve(kind, name, known)
    if isinstance(found, type) and name not in known and kind in _PROTOCOLS:
        # Looked at before it is called: not every class that can be named is harmless to make.
        methods = [part for part in _parts(kind) if callable(getattr(_PROTOCOLS[kind], part, None))]
        missing = [part for part in methods if not callable(getattr(found, part, None))]
        require(not missing, kind, name, f"a class with {', '.join(missing)}, or a finished object")
    if isinstance(found, type) and dataclasses.is_dataclass(found):
        fields = {field.name: field for field in dataclasses.fields(found)}
        for option, given in options.items():
            if option not in fields:
                raise unknown_option(option, [*fields], f"{kind} {name!r}")
            if fields[option].default is not dataclasses.MISSING:
                check_type(option, given, fields[option].default)
    elif options:
        raise unknown_option(next(iter(options)), [], f"{kind} {name!r}")
    try:
        return found(**options) if isinstance(found, type) else found
    except BadInput:
        raise
    except TypeError as error:
        raise BadInput(f"{kind} is {name!r}; expected a class whose arguments all have defaults ({error}).") from error
    except Exception as error:  # whatever a plug-in's own code raises
        raise BadInput(f"{kind} is {name!r}; expected a class that can be made ({raised_by(error)}).") from error


def unknown_option(option: str, known: list[str], where: str) -> BadInput:
    """The error for an option that `where` does not have."""
    close = difflib.get_close_matches(option, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return BadInput(f"{option!r} is not an option of {where}; expected one of {', '.join(known) or 'none'}.{hint}")


def check_type(field: str, given: object, default: object) -> None:
    """Refuse a value that is not of the type that its default has (a whole number is a float too), or that no number
    of 64 bits can hold.

    Raises:
        BadInput: naming the field.
    """
    kinds: tuple[type, ...] = (int, float) if type(default) is float else (type(default),)
    if type(given) not in kinds:
        require(False, field, given, f"a value of type {type(default).__name__}")
    check_range(field, given)


def check_range(field: str, given: object) -> None:
    """Refuse numbers that are not finite, or that have more than 64 bits.

    Raises:
        BadInput: naming the field.
    """
    if isinstance(given, float):
        require(math.isfinite(given), field, given, "a finite number")
    if isinstance(given, int):
        require(abs(given) < 2**63, field, given, "a whole number of at most 64 bits")


_PROTOCOLS: dict[str, type] = {"family": TaskFamily, "algorithm": Algorithm}


def _parts(kind: str) -> list[str]:
    """What an object of a kind must have."""
    return [part for part in vars(_PROTOCOLS[kind]) if not part.startswith("_")]


def _has(kind: str, name: str, thing: object, part: str) -> bool:
    try:
        return hasattr(thing, part)
    except Exception as error:  # a plug-in's own property
        raise BadInput(f"{kind} is {name!r}; expected an object with {part} ({raised_by(error)}).") from error
