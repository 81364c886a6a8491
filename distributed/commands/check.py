"""`innerloop check`."""

from dataclasses import dataclass
from typing import Literal

import tyro

from ...actors.contract import check, kind_of
from ...envs.errors import RunFailed
from ...envs.families import FAMILIES
from ...envs.registry import resolve
from ...learner.algorithms import ALGORITHMS
from ...learner.encoders import ENCODERS
from ...learner.memory import MEMORIES
from ...learner.options import construct
from ..parsing import parse


@dataclass(frozen=True, kw_only=True)
class Check:
    """Run the contract on a plug-in: a family, an algorithm, a memory or an encoder. Says which laws it keeps, and of
    those that it breaks what is wrong and where; the status is then 1."""

    name: tyro.conf.Positional[str]
    """package.module:attribute, or the name of one of ours."""
    kind: Literal["", "family", "algorithm", "memory", "encoder"] = ""
    """What it is; by default what it looks like."""


KNOWN = {"family": FAMILIES, "algorithm": ALGORITHMS, "memory": MEMORIES, "encoder": ENCODERS}


def run(rest: list[str]) -> None:
    options = parse(Check, rest, "innerloop check")
    known = {name: each for kind, own in KNOWN.items() if options.kind in ("", kind) for name, each in own.items()}
    found = resolve(options.kind or "name", options.name, known)
    ours = [kind for kind, own in KNOWN.items() if options.name in own and options.kind in ("", kind)]
    kind = options.kind or (ours[0] if ours else kind_of(options.name, found))
    thing = construct(kind, options.name, KNOWN[kind], {}) if kind in ("family", "algorithm") else found
    findings = check(kind, thing)
    for law, fault in findings:
        print(f"{'broken' if fault else 'kept':7}{law}{': ' if fault else ''}{fault}")
    broken = sum(bool(finding.fault) for finding in findings)
    if broken:
        raise RunFailed(f"{options.name} breaks {broken} of the {len(findings)} laws of its kind, {kind}.")
    print(f"{options.name} keeps all {len(findings)} laws of its kind, {kind}.")
