"""Nothing that comes from a disk, a server or a network is unpickled, or run: safetensors and JSON only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [f for layer in ("actors", "distributed", "envs", "learner") for f in sorted((ROOT / layer).rglob("*.py"))]
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "ray.cloudpickle"}
CALLS = {"torch.load", "np.load", "numpy.load", "torch.jit.load", "yaml.load", "eval", "exec", "compile", "os.system"}
OPTIONS = {"allow_pickle", "shell"}


def faults(source: str) -> list[str]:
    """What a module must not have, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            found += sorted(name for name in names if name in MODULES | CALLS)
        elif isinstance(node, ast.Call):
            found += [ast.unparse(node.func)] if ast.unparse(node.func) in CALLS else []
            found += [word.arg for word in node.keywords if word.arg in OPTIONS]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_unpickled(file: Path) -> None:
    assert faults(file.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("def f():\n    from ray import cloudpickle", ["ray.cloudpickle"]),
        ("from torch import load", ["torch.load"]),
        ("weights = torch.load(file)", ["torch.load"]),
        ("a = np.load(file, allow_pickle=True)", ["np.load", "allow_pickle"]),
        ("eval(text)", ["eval"]),
        ("subprocess.run(text, shell=True)", ["shell"]),
        ("model.eval()\njson.loads(text)\nload(body)", []),
    ],
)
def test_what_unpickles_is_found(source: str, found: list[str]) -> None:
    assert faults(source) == found
