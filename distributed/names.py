"""The names of a run's options: flat where a name is used once, `family.tasks`, `algorithm.tasks` and `run.tasks` where
several have it, so that a plug-in's options cannot clash with ours."""

import dataclasses
from collections.abc import Mapping

from ..envs.errors import BadInput
from ..envs.families import FAMILIES
from ..envs.registry import resolve
from ..learner.algorithms import ALGORITHMS
from ..learner.options import is_configurable, unknown_option
from .run import Run

OWN = frozenset({"family", "algorithm", "episodes", "trial_steps"})
"""Options that are no field of the run, the family or the algorithm."""


def option_fields(family: str, algorithm: str) -> dict[str, list[str]]:
    """The names of the options of the run, the family and the algorithm.

    Raises:
        BadInput: an unknown name.
    """
    owners = {
        "run": Run,
        "family": resolve("family", family, FAMILIES),
        "algorithm": resolve("algorithm", algorithm, ALGORITHMS),
    }
    return {
        kind: [field.name for field in dataclasses.fields(owner)]
        if isinstance(owner, type) and dataclasses.is_dataclass(owner) and is_configurable(owner)
        else []
        for kind, owner in owners.items()
    }


def split_option(option: str, kinds: Mapping[str, list[str]], where: str) -> tuple[str, str]:
    """Whose option it is, and its own name there.

    Args:
        option: flat, or with its owner's name before it.
        kinds: see `option_fields`.
        where: of the sentence about one that is not known.

    Raises:
        BadInput: nobody has it, or several have.
    """
    kind, dot, name = option.partition(".")
    if dot and kind in kinds:
        if name not in kinds[kind]:
            raise unknown_option(option, [f"{kind}.{each}" for each in kinds[kind]], where)
        return kind, name
    found = [kind for kind, fields in kinds.items() if option in fields]
    if len(found) > 1:
        whole = " or ".join(f"{kind}.{option}" for kind in found)
        raise BadInput(
            f"{option!r} is an option of {' and of '.join(f'the {kind}' for kind in found)}; expected {whole}."
        )
    if not found:
        raise unknown_option(option, sorted(OWN.union(*kinds.values())), where)
    return found[0], option


def prefixed(kinds: Mapping[str, list[str]], others: frozenset[str]) -> set[str]:
    """Which of family and algorithm share an option with somebody, so that a command line shows all of theirs with
    their owner's name.

    Args:
        kinds: see `option_fields`.
        others: options that the command itself has.
    """
    shared = {
        kind: others.union(*(fields for other, fields in kinds.items() if other != kind)) & {*kinds[kind]}
        for kind in ("family", "algorithm")
    }
    return {kind for kind, names in shared.items() if names}
