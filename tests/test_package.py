"""The package: its list of folders is complete, it stands without Ray, and it is not imported by a bare name."""

import subprocess
import sys
import tomllib
from pathlib import Path

import processes

ROOT = Path(__file__).parents[1]
NOT_PACKAGES = {"tests", "benchmarks", "docs", "cluster", "build"}

WITHOUT_RAY = """
import importlib, pkgutil, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "redis"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Forbidden())
for layer in ("envs", "learner", "actors"):
    package = importlib.import_module(f"innerloop.{layer}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
"""


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return processes.run([sys.executable, "-c", code], cwd=directory)


def test_the_list_of_packages_is_the_folders_that_hold_python_files() -> None:
    """A package that is not listed imports from an editable install and is missing from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"innerloop"}
    for folder in ROOT.iterdir():
        if folder.is_dir() and folder.name not in NOT_PACKAGES and not folder.name.startswith((".", "_")):
            for file in folder.rglob("*.py"):
                found.add(".".join(["innerloop", *file.parent.relative_to(ROOT).parts]))
    assert sorted(listed) == sorted(found)
    assert len(listed) == len(set(listed))


def test_every_package_has_an_init_file() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for package in listed:
        assert ROOT.joinpath(*package.split(".")[1:], "__init__.py").is_file(), package


def test_envs_learner_and_actors_import_without_ray_or_redis(tmp_path: Path) -> None:
    done = run(WITHOUT_RAY, tmp_path)
    assert done.returncode == 0, done.stderr
    for module in ("innerloop.envs.trials", "innerloop.learner.learner", "innerloop.actors.agent"):
        assert module in done.stdout.split()


def test_the_folder_is_not_imported_by_its_bare_name() -> None:
    done = run("import distributed", ROOT)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "innerloop.distributed" in last
