"""The README claims only what runs as written."""

import re
import sys
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PYTHON = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
COMMANDS = re.findall(r"^innerloop .*$", README.read_text(), re.M)
PAGES = [
    README,
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / name for name in ("cluster/README.md", "CONTRIBUTING.md", "SECURITY.md")),
]
LONGEST = 200
"""Lines of the README: what it is, how to begin, and links to the rest."""


FEW_SHOT = ["--family", "omniglot", "--algorithm", "supervised-maml"]
OFF_POLICY = [["--family", "sparse-point-navigation", "--algorithm", "pearl"], ["--algorithm", "recurrent-sac"]]


def block(marker: str) -> str:
    [found] = [text for text in PYTHON if marker in text]
    return found


def run(arguments: list[str], cwd: Path) -> str:
    done = processes.run(arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_the_gymnasium_example_is_short_and_runs_as_written(place: Path) -> None:
    example = block("GymnasiumFamily(")
    assert len([line for line in example.splitlines() if line]) < 20
    (place / "pendulum.py").write_text(example)
    commands = [command for command in COMMANDS if "pendulum:family" in command]
    assert [command.split()[1] for command in commands] == ["train", "evaluate"]
    for command in commands:
        said = run([sys.executable, "-m", *command.split()], place)
        assert "pendulum:family, 2 episodes a trial, 20 held-out tasks" in said
    assert (place / "runs" / "pendulum.family" / "evaluation.json").exists()


def test_the_python_examples_run_as_written(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--iterations", "3", "--trials", "50", "--evaluation-tasks", "0", "--out", "runs/first"]
    run([sys.executable, "-m", "innerloop", "train", "--preset", "first", *options], place)
    monkeypatch.chdir(place)
    exec(block("Agent.load"), {})
    assert len(re.findall(r"^pull \d: arm \d paid [01]$", capsys.readouterr().out, re.M)) == 10
    exec(block("configure(").replace("iterations=20", "iterations=2"), {})
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 ")


def test_an_agent_is_shown_examples_by_hand(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "few-shot.md").read_text()
    first = re.findall(r"^innerloop .*$", page, re.M)[0]
    assert "protonet" in first
    few = ["--iterations", "2", "--trials", "8", "--encoder", "cnn,width=8,channels=2", "--evaluation-tasks", "0"]
    run([sys.executable, "-m", *first.split(), *few, "--out", "runs/strokes"], place)
    monkeypatch.chdir(place)
    [example] = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(example, {})
    assert re.fullmatch(r"\[[0-4]\]", capsys.readouterr().out.strip())


def test_every_command_names_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from innerloop.distributed.cli import main

    known = ""
    for named in (
        [],
        ["--family", "tabular-mdp"],
        ["--algorithm", "maml"],
        ["--family", "strokes"],
        FEW_SHOT,
        *OFF_POLICY,
    ):
        with pytest.raises(SystemExit):
            main(["train", *named, "--help"])
        known += capsys.readouterr().out
    text = "\n".join(page.read_text() for page in PAGES if page.parent != ROOT / "cluster")
    trainings = " ".join(re.findall(r"innerloop train [^`\n]*", text))
    options = set(re.findall(r"--[\w-]+", trainings))
    assert len(options) > 8
    for option in options - {"--help"}:
        assert f"{option} " in known or f"{option}\n" in known, option


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
