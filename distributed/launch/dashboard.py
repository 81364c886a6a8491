"""What Ray's dashboard answers, asked through its one port with the cluster's token."""

import http.client
import os
import time
import urllib.error
import urllib.request
from typing import Any, Generic, NotRequired, TypeVar

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ...envs.errors import BadInput
from ...learner.files import Finite, parse, plain, read, reason

T = TypeVar("T")

REACH_SECONDS = 10.0
"""How long the dashboard may take to answer."""
LARGEST = 2**26
"""Bytes of an answer."""
LONGEST_TOKEN = 2**12
"""Bytes of a token's file."""


class Data(TypedDict, Generic[T]):
    """Ray's state API wraps what it answers."""

    data: T


class Answer(TypedDict, Generic[T]):
    """And once more."""

    result: T


class Node(TypedDict):
    """Of a cluster, what is used; the last two with `detail=true`."""

    node_id: str
    state: str
    labels: NotRequired[dict[str, str] | None]
    resources_total: NotRequired[dict[str, Finite] | None]


class Versions(TypedDict):
    """Of a cluster."""

    rayVersion: str
    pythonVersion: str


class _Mode(TypedDict):
    authentication_mode: NotRequired[str]


NODES: TypeAdapter[Data[Answer[Answer[list[Node]]]]] = TypeAdapter(Data[Answer[Answer[list[Node]]]])
FILES: TypeAdapter[Data[Answer[dict[str, list[str]]]]] = TypeAdapter(Data[Answer[dict[str, list[str]]]])
"""Among the logs of a node, by kind."""
VERSIONS: TypeAdapter[Data[Versions]] = TypeAdapter(Data[Versions])
_MODE: TypeAdapter[_Mode] = TypeAdapter(_Mode)
_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def authentication(address: str) -> dict[str, str]:
    """The header with the token, for a cluster that asks for one, from where Ray itself looks for it.

    Raises:
        BadInput: nothing answers, or there is no token.
    """
    if ask_for(address, "/api/authentication_mode", {}, _MODE).get("authentication_mode") == "disabled":
        return {}
    place = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    try:
        token = token or read(place, repr(place), "a token", most=LONGEST_TOKEN).decode().strip()
        if not (token.isascii() and token.isprintable() and token):
            raise ValueError("it is not one word of ASCII")  # and is not repeated
    except (OSError, ValueError) as error:
        raise BadInput(
            f"address is {address!r}, a cluster that asks for a token; expected one in RAY_AUTH_TOKEN, or in the file "
            f"that RAY_AUTH_TOKEN_PATH names ({_shown(error)})."
        ) from None
    return {"Authorization": f"Bearer {token}"}


def ask(address: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """What the dashboard answers, whatever that is; see `ask_for`."""
    return ask_for(address, path, headers, _OBJECT)


def ask_for(address: str, path: str, headers: dict[str, str], kind: TypeAdapter[T]) -> T:
    """What the dashboard answers.

    Args:
        address: http://host:port.
        path: what is asked for.
        headers: see `authentication`; not shown to another place, if the answer is to look there.
        kind: the answer's shape.

    Raises:
        BadInput: nothing answers, something else does, or it does not accept the token.
    """
    try:
        request = urllib.request.Request(address + path, headers=headers)
        with _OPENER.open(request, timeout=REACH_SECONDS) as answer:
            return parse(kind, _whole(answer), "its answer", "that of a Ray dashboard")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise BadInput(
                f"address is {address!r}, a cluster that refuses this token; expected the cluster's own in "
                "RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names."
            ) from None
        raise BadInput(f"address is {address!r}; expected a Ray dashboard there ({reason(error)}).") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BadInput(
            f"address is {address!r}; expected the http://host:port of a Ray dashboard ({_shown(error)})."
        ) from None


class _Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else, where the token would be shown."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def _whole(answer: http.client.HTTPResponse) -> bytes:
    """Raises:
    OSError: it does not end, or not in time.
    """
    data, end = bytearray(), time.monotonic() + REACH_SECONDS
    while piece := answer.read1(2**20):
        data += piece
        if len(data) > LARGEST:
            raise OSError(f"it answers more than {LARGEST} bytes")
        if time.monotonic() > end:
            raise TimeoutError(f"it has not answered in {REACH_SECONDS:g} s")
    return bytes(data)


def _shown(error: Exception) -> str:
    return plain(error).rstrip(".") or reason(error)
