"""What Ray's dashboard answers, asked through its one port with the cluster's token."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ..envs.errors import BadInput

REACH_SECONDS = 10.0
"""How long the dashboard may take to answer."""


def authentication(address: str) -> dict[str, str]:
    """The header with the token, for a cluster that asks for one, from where Ray itself looks for it.

    Raises:
        BadInput: nothing answers, or there is no token.
    """
    if ask(address, "/api/authentication_mode", {}).get("authentication_mode") == "disabled":
        return {}
    place = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray" / "auth_token")
    try:
        token = os.environ.get("RAY_AUTH_TOKEN") or Path(place).read_text().strip()
    except OSError as error:
        raise BadInput(
            f"address is {address!r}, a cluster that asks for a token; expected one in RAY_AUTH_TOKEN, or in the file "
            f"that RAY_AUTH_TOKEN_PATH names ({error})."
        ) from error
    return {"Authorization": f"Bearer {token}"}


def ask(address: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """What the dashboard answers.

    Raises:
        BadInput: nothing answers, something else does, or it does not accept the token.
    """
    try:
        request = urllib.request.Request(address + path, headers=headers)
        with urllib.request.urlopen(request, timeout=REACH_SECONDS) as answer:
            found = json.loads(answer.read())
        if not isinstance(found, dict):
            raise ValueError("it answers something else")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise BadInput(
                f"address is {address!r}, a cluster that refuses this token; expected the cluster's own in "
                "RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names."
            ) from error
        raise BadInput(f"address is {address!r}; expected a Ray dashboard there ({error}).") from error
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise BadInput(
            f"address is {address!r}; expected the http://host:port of a Ray dashboard ({reason})."
        ) from error
    return found
