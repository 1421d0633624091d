"""Where a registry is and what lets us in, as settings say: checked before it is used. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from streams.errors import ConfigurationError


def checked_url(url: str) -> str:
    """The URL without a slash at its end. Raises `ConfigurationError` for what is none."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"the registry's URL is none: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "the registry's URL carries a name or a password, and would show it in logs: set "
            "AGENTLOG_REGISTRY_USER and AGENTLOG_REGISTRY_PASSWORD instead"
        )
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise ConfigurationError(
            f"{url!r} is no URL of a registry: it looks like https://registry.example:8081"
        )
    if parts.query or parts.fragment or any(one.isspace() for one in url.strip()):
        raise ConfigurationError(
            f"{url!r} is no URL of a registry: it ends with the API's path, and has no space"
        )
    return url.strip().rstrip("/")


def checked_token(token: str) -> str:
    """The token without the line break that files end with; no error repeats it.

    Raises `ConfigurationError` for what no header can have.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable() and token):
        raise ConfigurationError(
            "AGENTLOG_REGISTRY_TOKEN is no bearer token: it is empty, or has characters that no "
            "header can have"
        )
    return token


def is_loopback(url: str) -> bool:
    """Whether nobody but this machine is asked."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
