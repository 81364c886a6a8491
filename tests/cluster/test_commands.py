"""The commands in cluster/README.md are commands that there are, with options that there are."""

import shlex
from typing import Any

import pytest
from ray.scripts.scripts import cli

from innerloop.distributed.launch.submit import Submit
from innerloop.distributed.options import read_training
from innerloop.distributed.parsing import parse

SECTIONS = (
    "Set-up, once",
    "Your own machines",
    "AWS",
    "Google Cloud",
    "Kubernetes",
    "One machine, with Docker",
)


def words_of(readme: Any, program: str, section: str) -> list[list[str]]:
    """The commands of a section that run this program, as words; what stands before it are variables."""
    lines = [line for block in readme.blocks(section) for line in block.splitlines()]
    split = [[word for word in shlex.split(line) if not word.startswith("RAY_UP_")] for line in lines if line]
    return [words for words in split if words[0] == program]


@pytest.mark.parametrize("section", SECTIONS[1:])
def test_every_run_that_is_sent_or_joins_has_options_that_innerloop_knows(readme: Any, section: str) -> None:
    commands = words_of(readme, "innerloop", section)
    assert commands
    for _, command, *rest in commands:
        assert command in ("submit", "train")
        if command == "submit":
            at = rest.index("--")
            parse(Submit, rest[:at], "innerloop submit")
            rest = rest[at + 1 :]
        read_training(rest)


@pytest.mark.parametrize("section", ["Your own machines", "AWS", "Google Cloud"])
def test_every_ray_command_has_options_that_ray_knows(readme: Any, section: str) -> None:
    commands = words_of(readme, "ray", section)
    assert [words[1] for words in commands][:2] == ["up", "dashboard"]
    assert ["down", "--yes"] in [words[1:3] for words in commands]
    for _, name, *rest in commands:
        command = cli.commands[name]
        if name == "list":
            assert rest[0] == "nodes"
        command.make_context(name, rest)  # raises for what is not known


def test_every_section_is_looked_at(readme: Any) -> None:
    assert all(readme.blocks(section) for section in SECTIONS)
    blocks = sum(len(readme.blocks(section)) for section in SECTIONS)
    assert blocks == readme.text.count("\n```\n") // 2
