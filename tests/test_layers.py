"""Imports point one way: the layers, the rooms in them, and that only `distributed` knows of Ray and Redis."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("envs", "learner", "actors", "distributed")
FILES = [file for layer in LAYERS for file in sorted((ROOT / layer).rglob("*.py"))]
LONGEST = 300
"""Lines of a source file."""

ROOMS = {
    "envs.fewshot": "api errors seeding",
    "learner.encoders": "constructors exact onehot",
    "learner.memory": "constructors",
    "learner.gradient": "api classes contexts encoders heads returns trajectory",
    "learner.algorithms": (
        "answers api classes contexts encoders episodes gradient heads memory policy returns sampling trajectory"
    ),
    "learner.experiment": "algorithms answers api options",
    "actors.baselines": "",
    "actors.contract": "actor agent baselines evaluate rollout",
    "distributed.launch": "source",
    "distributed.store": "",
    "distributed.store.redis": "launch store",
    "distributed.rollouts": "source store",
    "distributed.names": "run",
    "distributed.config": "names presets run store.redis",
    "distributed.run": "store.redis",
    "distributed.runs": "config run",
    "distributed.watch": "config launch runs",
    "distributed.held_out": "config rollouts runs store watch",
    "distributed.loop": "config curves held_out rollouts store",
    "distributed.saving": "opening store",
    "distributed.opening": "config rollouts run runs sizes",
    "distributed.trainer": "config held_out launch loop opening rollouts runs saving store store.redis watch",
    "distributed.papers": "config launch runs trainer",
    "distributed.commands": "config launch options overrides papers parsing presets run runs trainer watch",
    "distributed.cli": "launch terminal words",
}
"""Room to the others of its layer that it imports: all of them, so that one that is new, or gone, is seen here."""


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def package_of(module: str) -> str:
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


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


def own(source: str, package: str) -> set[str]:
    """The modules of ours among what is imported."""
    names = {name.removeprefix("innerloop.") for name in imported(source, f"innerloop.{package}")}
    return {each for name in names for each in (name, name.rpartition(".")[0]) if each in MODULES}


GRAPH = {module: own(file.read_text(), package_of(module)) - {module} for module, file in MODULES.items()}


def faults(source: str, package: str) -> set[str]:
    """The imports that a module of `package` must not have."""
    layer = LAYERS.index(package.split(".")[1])
    above = {f"innerloop.{name}" for name in LAYERS[layer + 1 :]} | set(LAYERS)
    foreign = set() if layer == LAYERS.index("distributed") else {"ray", "redis"}
    return {name for name in imported(source, package) if any(f"{name}.".startswith(f"{f}.") for f in above | foreign)}


def is_in(module: str, room: str) -> bool:
    return module == room or module.rpartition(".")[0] == room


def room_of(module: str) -> str:
    """The room that a module is in; of those that lie openly in a layer, the module itself."""
    room = package_of(module)
    return module if room in LAYERS else room


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    package = ".".join(["innerloop", *file.parent.relative_to(ROOT).parts])
    assert faults(file.read_text(), package) == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_is_drawn(room: str) -> None:
    layer = room.partition(".")[0]
    found = {room_of(other) for module in GRAPH if is_in(module, room) for other in GRAPH[module]} - {room}
    others = {each.removeprefix(f"{layer}.") for each in found if each.startswith(f"{layer}.")}
    assert others - {layer} == {*ROOMS[room].split()}


def test_every_room_is_drawn() -> None:
    rooms = {room for room in map(room_of, MODULES) if MODULES.get(room, Path()).name == "__init__.py"}
    assert rooms - {*ROOMS} - {*LAYERS} == set()


def test_nothing_imports_in_a_circle() -> None:
    assert [*graphlib.TopologicalSorter(GRAPH).static_order()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_longer_than_can_be_read_in_one_sitting(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST


USERS = [file for folder in ("tests", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
PUBLIC = {"_replace", "_asdict", "_fields", "_exit", "_modules"}
"""Of named tuples, of `os` and of torch: their documented names."""


def private(source: str) -> set[str]:
    """Names of other modules that begin with an underscore: attributes, imports, and what is patched."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name):
                found.add(name)
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("innerloop"):
                found |= {each.name for each in names}
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[*_, ast.Constant(value=str(name)), _]):
                found.add(name.rpartition(".")[2])
    return {name for name in found if name.startswith("_") and not name.startswith("__")} - PUBLIC


@pytest.mark.parametrize("file", USERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_tests_use_what_every_program_may(file: Path) -> None:
    assert private(file.read_text()) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("store._stream.x", {"_stream"}),
        ("self._mine = self._yours.count", set()),
        ("from innerloop.envs.api import _hidden, Step", {"_hidden"}),
        ("patch.setattr('innerloop.envs.api._hidden', 1)", {"_hidden"}),
        ("patch.setattr(api, '_hidden', 1)", {"_hidden"}),
        ("tuple._replace(a=1); os._exit(1); x.__dict__; from ray._private import worker", set()),
    ],
)
def test_a_private_name_is_found(source: str, found: set[str]) -> None:
    assert private(source) == found


def test_a_name_stands_for_one_class() -> None:
    names = [
        node.name
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name in {*names} if names.count(name) > 1] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_looked_at(layer: str) -> None:
    assert any(file.parts[-2] == layer for file in FILES)


@pytest.mark.parametrize(
    ("source", "package", "found"),
    [
        ("from ..learner.api import Problem", "innerloop.envs", {"innerloop.learner.api.Problem"}),
        ("from .. import actors", "innerloop.learner", {"innerloop.actors"}),
        ("from ...distributed import trainer", "innerloop.actors.baselines", {"innerloop.distributed.trainer"}),
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


@pytest.mark.parametrize("module", ["distributed.cli", "distributed.commands.status", "distributed.store.shard"])
def test_what_begins_often_does_not_wait_for_torch(module: str) -> None:
    """The command line until it knows what to do, and what only reads files; each shard of a replay."""
    needed, waiting = set[str](), [module]
    while waiting:
        if (each := waiting.pop()) not in needed:
            needed.add(each)
            parents = each.split(".")
            waiting += [".".join(parents[:depth]) for depth in range(1, len(parents))]
            waiting += GRAPH[each]
    packages = {
        each: {name.partition(".")[0] for name in imported(MODULES[each].read_text(), package_of(each))}
        for each in needed
    }
    assert {each for each, names in packages.items() if "torch" in names} == set()
