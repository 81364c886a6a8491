"""Who may reach a run's Ray: anyone with the token, from this machine. Anyone who may can run programs as us."""

import contextlib
import logging
import os
import secrets
import socket
import stat
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import grpc
import ray
from ray import _raylet
from ray._common.utils import get_ray_address_file

from ...envs.errors import BadInput, require, without_passwords

PROBE_SECONDS = 5.0
"""How long a cluster may take to say whether it asks for a token."""
_PROBES = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
"""Calls that change nothing: of a cluster's own port, and of its port for Ray clients."""

_log = logging.getLogger("innerloop")


def token_file() -> Path:
    """Where Ray looks for the token when the environment does not say."""
    return Path.home() / ".ray" / "auth_token"


def make_token() -> None:
    """See that there is a token that nobody else can read, before Ray makes one that everybody can.

    Nothing is done where the environment brings a token, and nothing but a warning where it switches tokens off.

    Raises:
        BadInput: there is no place for it, or what is there cannot be used or is somebody else's.
    """
    try:
        _make_token()
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        raise BadInput(
            f"HOME is {os.environ.get('HOME', '')!r}; expected a directory where Ray's token can be kept, in "
            f".ray/auth_token, or a token in RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names ({error})."
        ) from error


def _make_token() -> None:
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token":
        _log.warning("RAY_AUTH_MODE is %r: whoever reaches this run's Ray ports can run programs as you.", mode)
        return
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        _require_token("RAY_AUTH_TOKEN_PATH", Path(given))
        return
    file = token_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    yours = file.parent.stat().st_uid in (os.geteuid(), 0)
    require(yours, "Ray's directory", str(file.parent), "one of yours: whoever owns it can put in another token")
    if not file.exists():
        with contextlib.suppress(FileExistsError), _new_beside(file, secrets.token_hex(32)) as new:
            os.link(new, file)  # whole at once, for runs that begin together; another may be faster
    _require_token("Ray's token", file)
    found = file.stat()
    require(found.st_uid in (os.geteuid(), 0), "Ray's token", str(file), "a file of yours: whoever owns it knows it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        file.chmod(0o600)
        _log.warning("%s could be read by other users; it is yours alone now. They may know the token.", file)


def _require_token(name: str, file: Path) -> None:
    """Ray's own word for a token that cannot be read comes when it has half started."""
    try:
        text = file.read_text().strip() if file.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{name} is {str(file)!r}; expected a file with a token ({error}).") from error
    require(bool(text), name, str(file), "a file with a token")


def write_alone(file: Path, text: str) -> None:
    """Write a file whole, that this user alone can read, also where others may write.

    Whatever others have put under its name is replaced, never followed.
    """
    with _new_beside(file, text) as new:
        os.replace(new, file)


@contextlib.contextmanager
def _new_beside(file: Path, text: str) -> Iterator[Path]:
    """A new file with a name that nobody knows beforehand; it is gone after the block, unless it has another name."""
    new = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        yield new
    finally:
        new.unlink(missing_ok=True)


def check_address_file() -> None:
    """What says where `auto` leads is ours, or the administrator's.

    Raises:
        BadInput: somebody else wrote it.
    """
    file = Path(get_ray_address_file(None))
    if not os.environ.get("RAY_ADDRESS") and file.exists():
        whose = "where somebody else wrote down which cluster that is"
        ours = file.lstat().st_uid in (os.geteuid(), 0)
        require(ours, "address", f"auto ({file})", f"the cluster's host:port, not auto, {whose}")


def check_socket(socket: Path) -> None:
    """Nobody but us and the administrator can put another program behind a socket of Ray's on this machine.

    That others may write beside it is warned of: Ray's own default is like that.

    Raises:
        BadInput: it, or a directory above it, is somebody else's.
    """
    exposed = None
    for place in (*reversed(socket.parents), socket):
        found = place.stat()
        ours = found.st_uid in (os.geteuid(), 0)
        require(ours, "Ray's socket", str(socket), f"a cluster of yours, but {place} is another user's")
        if place == socket:
            break
        if found.st_uid == os.geteuid() and not found.st_mode & 0o011:
            return  # nobody else gets any further
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            exposed = place
    if exposed:
        _log.warning(
            "Other users of this machine can write to %s, where the Ray cluster has its sockets, and so run programs "
            "as you. Start it with a RAY_TMPDIR that is yours alone; SECURITY.md says how.",
            exposed,
        )


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
