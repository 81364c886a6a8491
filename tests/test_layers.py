"""Imports point one way, envs <- learner <- actors <- distributed, and only distributed knows of Ray and Redis."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("envs", "learner", "actors", "distributed")
FILES = [file for layer in LAYERS for file in sorted((ROOT / layer).rglob("*.py"))]


def imported(source: str, package: str) -> set[str]:
    """Absolute names of all that a module of `package` imports, wherever in the file; `from x import y` gives x.y."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            names |= {".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names}
    return names


def faults(source: str, package: str) -> set[str]:
    """The imports that a module of `package` must not have."""
    layer = LAYERS.index(package.split(".")[1])
    above = {f"innerloop.{name}" for name in LAYERS[layer + 1 :]} | set(LAYERS)
    foreign = set() if layer == LAYERS.index("distributed") else {"ray", "redis"}
    return {name for name in imported(source, package) if any(f"{name}.".startswith(f"{f}.") for f in above | foreign)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    package = ".".join(["innerloop", *file.parent.relative_to(ROOT).parts])
    assert faults(file.read_text(), package) == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_looked_at(layer: str) -> None:
    assert any(file.parts[-2] == layer for file in FILES)


@pytest.mark.parametrize(
    ("source", "package", "found"),
    [
        ("from ..learner.api import Problem", "innerloop.envs", {"innerloop.learner.api.Problem"}),
        ("from .. import actors", "innerloop.learner", {"innerloop.actors"}),
        ("from ...distributed import pool", "innerloop.actors.baselines", {"innerloop.distributed.pool"}),
        ("import innerloop.distributed.trainer", "innerloop.actors", {"innerloop.distributed.trainer"}),
        ("def f():\n    import ray", "innerloop.actors", {"ray"}),
        ("from ray.util import metrics", "innerloop.learner", {"ray.util.metrics"}),
        ("import redis.asyncio as r", "innerloop.envs", {"redis.asyncio"}),
        ("from envs.api import Step", "innerloop.learner", {"envs.api.Step"}),
        ("from . import memory\nfrom ..envs import api\nimport rayleigh", "innerloop.learner", set()),
        ("import ray, redis\nfrom ...actors import actor", "innerloop.distributed.store", set()),
    ],
)
def test_a_wrong_import_is_found(source: str, package: str, found: set[str]) -> None:
    assert faults(source, package) == found
