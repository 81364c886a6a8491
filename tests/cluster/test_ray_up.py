"""The files of `ray up`, by the schema and the functions that Ray itself looks at them with; and every `ray start`."""

import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from innerloop import __version__

CLUSTER = Path(__file__).parents[2] / "cluster"
FILES = "machines.yaml", "aws.yaml", "gcp.yaml"
CLOUDS = FILES[1:]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


def of_head(config: dict[str, Any]) -> list[str]:
    return [*config["setup_commands"], *config["head_setup_commands"], *config["head_start_ray_commands"]]


def of_worker(config: dict[str, Any]) -> list[str]:
    return [*config["setup_commands"], *config["worker_setup_commands"], *config["worker_start_ray_commands"]]


def ray_starts() -> list[tuple[str, str]]:
    """Every `ray start` in the files, and where it stands."""
    found = [(name, command) for name in FILES for command in (*of_head(read(name)), *of_worker(read(name)))]
    services = read("compose.yaml")["services"]
    found += [("compose.yaml", services[name]["command"]) for name in ("head", "worker")]
    return [(name, part) for name, command in found for part in command.split(";") if "ray start" in part]


def label(command: str) -> str | None:
    return next((part.partition("role=")[2] for part in command.split() if part.startswith("--labels=")), None)


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    prepared = prepare_config(read(name))  # with Ray's defaults of the provider, as `ray up` does it
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]


@pytest.mark.parametrize("name", FILES)
def test_ray_would_not_accept_a_field_that_it_does_not_know(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(read(name) | {"max_wokers": 8}))


@pytest.mark.parametrize("name", CLOUDS)
def test_the_learner_is_the_head_with_the_gpu_and_rollouts_scale(name: str) -> None:
    config = prepare_config(read(name))
    learner, rollout = (config["available_node_types"][each] for each in ("learner", "rollout"))
    assert config["head_node_type"] == "learner"
    assert (learner["labels"], rollout["labels"]) == ({"role": "learner"}, {"role": "rollout"})
    assert learner["resources"]["GPU"] == 1
    assert "GPU" not in rollout["resources"]
    assert learner["max_workers"] == 0  # no second learner
    assert 0 < rollout["min_workers"] < rollout["max_workers"] <= config["max_workers"]


def test_machines_have_their_labels_from_ray_start_and_all_of_them_are_used() -> None:
    config = read("machines.yaml")
    head, worker = (config[f"{each}_start_ray_commands"][-1] for each in ("head", "worker"))
    assert (label(head), label(worker)) == ("learner", "rollout")
    [node_type] = prepare_config(config)["available_node_types"].values()
    assert node_type["max_workers"] == node_type["min_workers"] == len(config["provider"]["worker_ips"])


@pytest.mark.parametrize("name", FILES)
def test_nobody_gets_in_without_the_token_and_the_dashboard_is_on_loopback(name: str) -> None:
    config = read(name)
    [environment] = [line for line in config["setup_commands"] if "RAY_AUTH_MODE=token" in line]
    assert "RAY_AUTH_TOKEN_PATH=~/.innerloop/token" in environment
    assert environment.endswith("> ~/.innerloop/env")
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert all(command.startswith(". ~/.innerloop/env; ") for command in commands)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "chmod 600 ~/.innerloop/token ~/.innerloop/secrets" in config["setup_commands"]
    # Ray makes its directory writable by everybody; nobody else gets to it.
    assert "chmod 700 ~/.innerloop" in config["setup_commands"]
    assert "RAY_TMPDIR=~/.innerloop'" in environment


@pytest.mark.parametrize("name", FILES)
def test_what_is_sent_to_the_machines_is_what_the_readme_makes(name: str, readme: Any) -> None:
    config = read(name)
    [once] = readme.blocks("Set-up, once")
    for source in config["file_mounts"].values():
        made = (CLUSTER.parent / source).exists() or f"> {source}" in once or f"touch {source}" in once
        assert made or f"--wheel-dir {source} " in once, source
    wheel = f"~/.innerloop/dist/innerloop-{__version__}-py3-none-any.whl"
    for commands in (of_head(config), of_worker(config)):
        assert sum(wheel in command for command in commands) == 1
        # Ray wants the same Python everywhere, to the patch, and machines are set up on different days.
        assert sum("venv" in command and "--python 3.11.13" in command for command in commands) == 1


@pytest.mark.parametrize("name", FILES)
def test_every_command_is_one_that_a_shell_can_read(name: str) -> None:
    config = read(name)
    for command in {*of_head(config), *of_worker(config)}:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(("name", "command"), ray_starts())
def test_ray_start_takes_these_options(name: str, command: str) -> None:
    words = command.split()
    context = start.make_context("start", words[words.index("start") + 1 :])  # raises for an option that is not known
    assert context.params["head"] == ("--head" in words)
    assert context.params["metrics_export_port"] == 8080
    if name != "compose.yaml" and "--head" in words:
        assert context.params["dashboard_host"] == "127.0.0.1"
