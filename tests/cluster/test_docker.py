"""The image and the compose files, as far as one can look without an engine; the Redis command runs for real."""

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from compose_spec import PyCompose
from processes import BEGIN_SECONDS, spawn
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis_server import find_server, free_port

from innerloop import __version__

CLUSTER = Path(__file__).parents[2] / "cluster"
ROOT = CLUSTER.parent
FILES = "compose.yaml", "compose.gpu.yaml"


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


SERVICES = read("compose.yaml")["services"]


def test_the_dockerfile_has_nothing_that_hadolint_objects_to() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CLUSTER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_holds_the_ray_and_the_innerloop_of_here_and_no_secret() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    assert f"ARG RAY={importlib.metadata.version('ray')}\n" in text
    assert f"dist/innerloop-{__version__}-py3-none-any.whl" in text
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    assert [line for line in ignored if line and not line.startswith("#")] == ["*", "!constraints.txt", "!dist/*.whl"]
    # What is copied is what is let through.
    [copied] = re.findall(r"^COPY --chown=1000 (.+) \S+$", text, re.M)
    assert copied.split() == ["constraints.txt", f"dist/innerloop-{__version__}-py3-none-any.whl"]
    assert (ROOT / "constraints.txt").is_file()


@pytest.mark.parametrize("name", FILES)
def test_compose_knows_every_field(name: str) -> None:
    text = json.dumps(read(name))  # with what `<<` takes over put in
    PyCompose.from_json(text).to_spec()
    with pytest.raises(ValueError, match="biuld"):
        PyCompose.from_json(text.replace('"build":', '"biuld":')).to_spec()


def test_nothing_is_published_but_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)
    assert "ports" not in SERVICES["redis"]


def test_every_file_that_is_mounted_is_there_or_made_by_the_readme(readme: Any) -> None:
    compose = read("compose.yaml")
    made = "\n".join([*readme.blocks("Set-up, once"), *readme.blocks("One machine, with Docker")])
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    for file in (name for name in mounted if name.startswith(".")):
        assert (CLUSTER / file).is_file(), file
    for volume in (name for name in mounted if not name.startswith(".")):
        assert volume in compose["volumes"]
    needed = {compose["secrets"]["token"]["file"], *(s["env_file"] for s in SERVICES.values() if "env_file" in s)}
    assert needed == {"secrets/token", "secrets/env"}
    for file in needed:
        assert f"cluster/{file}" in made
    assert "secrets/" in (CLUSTER / ".gitignore").read_text().split()


def test_the_nodes_have_the_token_and_their_roles() -> None:
    for name, role in (("head", "learner"), ("worker", "rollout")):
        service = SERVICES[name]
        assert service["environment"] == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/run/secrets/token"}
        assert service["secrets"] == ["token"]
        assert f"--labels=role={role}" in service["command"].split()
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


@pytest.mark.skipif(find_server() is None, reason="no redis-server 6.2 or newer on this machine")
def test_the_redis_command_starts_a_server_with_a_password_that_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    command, port, password = SERVICES["redis"]["command"].replace("$$", "$"), free_port(), "a word's $HOME"
    assert command.count("exec redis-server ") == 1
    here = f"exec {find_server()} --port {port} --bind 127.0.0.1 --dir {tmp_path} "
    words = shlex.split(command.replace("exec redis-server ", here))
    environment = {"INNERLOOP_REDIS_PASSWORD": password, "PATH": "/usr/bin:/bin"}
    with spawn(words, env=environment, stdout=subprocess.DEVNULL):
        patience = Retry(ConstantBackoff(0.05), int(BEGIN_SECONDS / 0.05))
        with redis.Redis(port=port, password=password, protocol=2, retry=patience) as client:
            assert client.ping()
            expected = {"appendonly": "yes", "appendfsync": "always", "maxmemory": str(2 * 2**30)}
            expected["maxmemory-policy"] = "noeviction"
            assert {name: client.config_get(name)[name] for name in expected} == expected
        with redis.Redis(port=port, protocol=2) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
