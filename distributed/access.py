"""Who may reach a run's Ray: whoever has the token, from this machine. Whoever may, runs programs as us."""

import logging
import os
import re
import secrets
import socket
import stat
import sys
from ipaddress import ip_address
from pathlib import Path

import grpc
import ray
from ray import _raylet

PROBE_SECONDS = 5.0
"""How long a cluster may take to say whether it asks for a token."""
_PROBES = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
"""Calls that change nothing: of a cluster's own port, and of its port for Ray clients."""

_PASSWORD = re.compile(r"://[^/?#\s:@]*:(\S+)@")

_log = logging.getLogger("innerloop")


def token_file() -> Path:
    """Where Ray looks for the token when the environment does not say."""
    return Path.home() / ".ray" / "auth_token"


def make_token() -> None:
    """See that there is a token that nobody else can read, before Ray makes one that everybody can.

    Nothing is done where the environment brings a token, and nothing but a warning where it switches tokens off.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token":
        _log.warning("RAY_AUTH_MODE is %r: whoever reaches this run's Ray ports can run programs as you.", mode)
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    file = token_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        new = file.with_name(f"auth_token.{secrets.token_hex(4)}")  # whole at once, for runs that begin together
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
        try:
            os.link(new, file)
        except FileExistsError:
            pass  # another run was faster
        finally:
            new.unlink(missing_ok=True)
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        file.chmod(0o600)
        _log.warning("%s could be read by other users; it is yours alone now. They may know the token.", file)


def without_passwords(text: str, words: list[str]) -> str:
    """A text, also one that is broken into lines, with dots for the passwords in URLs among the words of a command."""
    for password in _PASSWORD.findall("\n".join(words)):
        text = re.sub(r"\s*".join(map(re.escape, password)), "...", text)
    return text


def hide_passwords() -> None:
    """Take passwords in URLs out of this process' command line, which `ps` and Ray's dashboard show as it then is."""
    command = " ".join(sys.orig_argv)
    if (shown := without_passwords(command, sys.orig_argv)) != command:
        _raylet.setproctitle(shown)  # pyright: ignore[reportAttributeAccessIssue]


def is_loopback(host: str) -> bool:
    """Whether a host's name or address leads to this machine and nowhere else."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ip_address(str(address).partition("%")[0]).is_loopback for address in found)


def asks_for_token(address: str) -> bool | None:
    """Whether a Ray cluster refuses who has no token.

    Args:
        address: host:port of the cluster, or of its port for Ray clients.

    Returns:
        None if it does not say.
    """
    # Bare gRPC: Ray's own clients would send the token. What a cluster cannot read it refuses only behind the token.
    with grpc.insecure_channel(address) as channel:
        for method in _PROBES:
            try:
                channel.unary_unary(method)(b"", timeout=PROBE_SECONDS)
                return False
            except grpc.RpcError as error:
                code = error.code()  # pyright: ignore[reportAttributeAccessIssue]
                if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    return True
                if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    return None
    return None


def warn_if_open(address: str) -> None:
    """Say so, when the cluster that was joined at an address lets everybody in."""
    place = address.removeprefix("ray://") if ":" in address else ray.get_runtime_context().gcs_address
    if asks_for_token(place) is False:
        _log.warning(
            "The Ray cluster at %s lets everybody in who reaches its ports, and whoever is in can run programs on it. "
            "Start it with RAY_AUTH_MODE=token; SECURITY.md says how.",
            place,
        )
