"""The address of a Redis server, and who we are to it. The password is in none of the texts made here."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry

from ....envs.errors import BadInput

TIMEOUT = 10.0
"""Seconds without a byte after which a server counts as away."""

USERNAME, PASSWORD = "INNERLOOP_REDIS_USERNAME", "INNERLOOP_REDIS_PASSWORD"
_CERTIFICATES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_FORM = (
    "redis://[user[:password]@]host:port[/db], or rediss:// with TLS and, if needed, "
    f"?{'=…&'.join(_CERTIFICATES)}=…; other characters in a password are percent-encoded"
)


@dataclass(frozen=True)
class Address:
    """A Redis server and who we are to it."""

    host: str
    port: int
    db: int
    tls: bool
    username: str | None
    password: str | None = field(repr=False)
    certificates: tuple[tuple[str, str], ...]
    """Files for TLS, by the names of `redis.Redis`."""

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> "Address":
        """An address from a URL; who it does not name, `INNERLOOP_REDIS_USERNAME` and `INNERLOOP_REDIS_PASSWORD` do.

        Raises:
            BadInput: it is not one; the text does not repeat it, because a password may be anywhere in it.
        """
        fault = BadInput(f"store is a URL that cannot be used; expected {_FORM}.")
        try:
            parts = urlsplit(url)
            port, options = parts.port or 6379, parse_qsl(parts.query, strict_parsing=bool(parts.query))
            (parts.hostname or "").encode("idna")
        except ValueError:  # its text would show a part of the URL
            raise fault from None
        db, tls = re.fullmatch(r"/?(\d{0,5})", parts.path), parts.scheme == "rediss"
        known = not options or (tls and all(name in _CERTIFICATES for name, _ in options))
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or not db or parts.fragment or not known:
            raise fault
        for name, file in options:
            if not Path(file).is_file():
                raise BadInput(f"{name} of the store is {file!r}; expected a file.")
        username, password = (unquote(part) if part else None for part in (parts.username, parts.password))
        if password is None:
            username, password = username or environment.get(USERNAME), environment.get(PASSWORD)
        return cls(parts.hostname, port, int(db[1] or 0), tls, username, password, tuple(options))

    def __str__(self) -> str:
        """The URL without the password."""
        user = f"{quote(self.username, safe='')}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        options = f"?{urlencode(self.certificates, safe='/')}" if self.certificates else ""
        return f"{'rediss' if self.tls else 'redis'}://{user}{host}:{self.port}/{self.db}{options}"

    @property
    def place(self) -> str:
        """For sentences."""
        return f"Redis at {self.host}:{self.port}"

    def connect(self) -> redis.Redis:
        """A client that tries once; it connects when it is first used."""
        more: dict[str, Any] = {"ssl_check_hostname": True, **dict(self.certificates)} if self.tls else {}
        if self.username or self.password:  # not as they are: some versions print them with the client
            more["credential_provider"] = UsernamePasswordCredentialProvider(self.username, self.password)
        pool = redis.ConnectionPool(
            connection_class=redis.SSLConnection if self.tls else redis.Connection,
            host=self.host,
            port=self.port,
            db=self.db,
            protocol=2,
            socket_read_size=2**20,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            **more,
        )
        return redis.Redis.from_pool(pool)


def split_secret(url: str) -> tuple[str, str | None]:
    """A store's URL without its password, and the password, if it has one.

    Raises:
        BadInput: not such a URL.
    """
    address = Address.parse(url, {})
    return str(address), address.password
