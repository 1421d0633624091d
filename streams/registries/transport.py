"""Requests to one registry: who we are, what is tried again, and what an answer means.

Every request of ours may be repeated without harm (to register a schema twice is to register it
once), so whatever a later attempt may mend is tried again, within the bounds of a `Patience`.

| answer | what it becomes |
| --- | --- |
| none, 408, 429, 500, 502 to 504 | tried again (`Retry-After` is heeded); then `RegistryError` |
| 401, 403 | `RegistryError`: who we are is not enough |
| 404 with an error code of the API | None: there is no such thing |
| 409, 422 | `RegistryRefused`, in the registry's words |
| anything else, or what is no JSON | `RegistryError`: this is no schema registry |
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from streams.errors import ConfigurationError, RegistryError, RegistryRefused
from streams.registries.access import checked_token, checked_url, is_loopback
from streams.settings import Settings

if TYPE_CHECKING:
    import httpx2

BACKOFF_MS_FIRST: Final = 100
BACKOFF_MS_MAX: Final = 2_000
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger answer is not read to its end."""
CONNECTIONS_MAX: Final = 8
QUOTED_MAX: Final = 500
"""Characters of a registry's own words that an error repeats."""

_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
_NOT_FOUND_CODES: Final = range(40400, 40500)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take: attempts, and seconds for each and for all."""

    attempts_max: int
    connect_s: float
    answer_s: float
    total_s: float
    """No further attempt begins after so long."""


COMMAND: Final = Patience(attempts_max=4, connect_s=3.0, answer_s=15.0, total_s=20.0)
"""Somebody waits for a command, and would rather wait than run it again."""
READER: Final = Patience(attempts_max=2, connect_s=1.0, answer_s=5.0, total_s=5.0)
"""A reader of records waits, and others behind it."""


class Transport:
    """Asks one registry. Thread-safe.

    `user` with `password`, or `token`, say who we are. Raises `ConfigurationError` for a URL that
    is none or that carries a password: it would be in every log.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str = "",
        token: str | None = None,
        patience: Patience = COMMAND,
        sleep_s: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        import httpx2  # noqa: PLC0415 (0.1 s, which only who has a registry should wait for)

        self.url = checked_url(url)
        try:
            httpx2.URL(self.url)
        except httpx2.InvalidURL as error:
            raise ConfigurationError(f"{url!r} is no URL of a registry: {error}") from error
        self._patience = patience
        self._sleep_s = sleep_s
        self._monotonic_s = monotonic_s
        self._rng = rng or random.Random()
        headers = {"Accept": f"{_MEDIA_TYPE}, application/json", "Content-Type": _MEDIA_TYPE}
        if token is not None:
            headers["Authorization"] = f"Bearer {checked_token(token)}"
        self._http = httpx2.Client(
            headers=headers,
            auth=None if user is None or token is not None else httpx2.BasicAuth(user, password),
            timeout=httpx2.Timeout(patience.answer_s, connect=patience.connect_s),
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX),
            # Proxies of the environment are for elsewhere, never for loopback.
            trust_env=not is_loopback(self.url),
        )

    @classmethod
    def of(cls, settings: Settings, url: str | None = None, *, patience: Patience) -> Transport:
        """To the registry that the settings (or `url`) name, as who they say we are."""
        where = url or settings.registry_url
        if where is None:
            raise ConfigurationError(
                "no schema registry is named: set AGENTLOG_REGISTRY_URL, or start one with "
                "`agentlog registry start`"
            )
        password, token = settings.registry_password, settings.registry_token
        return cls(
            where,
            user=settings.registry_user,
            password="" if password is None else password.get_secret_value(),
            token=None if token is None else token.get_secret_value(),
            patience=patience,
        )

    def close(self) -> None:
        """Close the connections. Twice does no harm."""
        self._http.close()

    def ask(
        self,
        method: str,
        *path: str,
        what: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer; None where there is no such thing. `what` is it, in an error.

        Raises `RegistryError` or `RegistryRefused`, as the table above says.
        """
        import httpx2  # noqa: PLC0415

        address = "/".join((self.url, *(quote(part, safe="") for part in path)))
        began_s = self._monotonic_s()
        cause: Exception | None
        for attempt in range(1, self._patience.attempts_max + 1):
            asked_to_wait_s = 0.0
            try:
                status, headers, raw = self._once(method, address, body, params)
            except httpx2.TransportError as error:
                problem, cause = type(error).__name__, error
            except httpx2.DecodingError as error:
                raise self.no_registry(str(error)) from error
            else:
                if status not in _AGAIN:
                    return self._understood(what, status, headers, raw)
                problem, cause = f"HTTP {status}{_quoted(raw)}", None
                asked_to_wait_s = _retry_after_s(headers)
            wait_s = max(asked_to_wait_s, self._backoff_s(attempt))
            spent_s = self._monotonic_s() - began_s + wait_s
            if attempt == self._patience.attempts_max or spent_s >= self._patience.total_s:
                break
            self._sleep_s(wait_s)
        raise RegistryError(
            f"no schema registry answers at {self.url} ({problem}, {attempt} attempts): start it, "
            "correct AGENTLOG_REGISTRY_URL, or unset that to do without"
        ) from cause

    def _once(
        self,
        method: str,
        address: str,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
    ) -> tuple[int, httpx2.Headers, bytes]:
        import httpx2  # noqa: PLC0415

        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        deadline_s = self._monotonic_s() + self._patience.connect_s + self._patience.answer_s
        with self._http.stream(method, address, content=content, params=params) as answer:
            raw = bytearray()
            for piece in answer.iter_bytes():
                raw += piece
                # The client's own timeout is for each piece; a trickle would never end.
                if self._monotonic_s() > deadline_s:
                    raise httpx2.ReadTimeout("the answer goes on and on")
                if len(raw) > ANSWER_BYTES_MAX:
                    raise RegistryError(
                        f"an answer of {self.url} is larger than {ANSWER_BYTES_MAX} bytes: is it a "
                        "schema registry?"
                    )
        return answer.status_code, answer.headers, bytes(raw)

    def _understood(self, what: str, status: int, headers: httpx2.Headers, raw: bytes) -> Any:
        if status in {401, 403}:
            raise RegistryError(
                f"the registry at {self.url} does not let us in (HTTP {status}): set "
                "AGENTLOG_REGISTRY_USER and AGENTLOG_REGISTRY_PASSWORD, or AGENTLOG_REGISTRY_TOKEN"
            )
        try:
            said = json.loads(raw)
        except (ValueError, RecursionError):
            said = None
        if status == 404 and isinstance(said, dict) and _error_code(said) in _NOT_FOUND_CODES:
            return None
        if status in {409, 422} and isinstance(said, dict):
            raise RegistryRefused(what, str(said.get("message", said))[:QUOTED_MAX])
        if not 200 <= status < 300 or said is None:
            raise self.no_registry(f"HTTP {status}{_whither(headers)}{_quoted(raw)}")
        return said

    def no_registry(self, problem: str) -> RegistryError:
        """The error for an answer that no schema registry gives."""
        return RegistryError(
            f"what answers at {self.url} is no schema registry ({problem}): correct "
            "AGENTLOG_REGISTRY_URL; Apicurio's ends with /apis/ccompat/v7"
        )

    def _backoff_s(self, attempt: int) -> float:
        backoff_ms: int = min(BACKOFF_MS_FIRST * 2 ** (attempt - 1), BACKOFF_MS_MAX)
        return self._rng.uniform(0.5, 1.0) * backoff_ms / 1000


def _error_code(said: Mapping[str, Any]) -> int:
    code = said.get("error_code")
    return code if isinstance(code, int) else 0


def _retry_after_s(headers: httpx2.Headers) -> float:
    """What the registry asks us to wait, if it says so in seconds."""
    said = headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() else 0.0


def _whither(headers: httpx2.Headers) -> str:
    return f" to {headers['location']}" if "location" in headers else ""


def _quoted(raw: bytes) -> str:
    said = " ".join(raw[:QUOTED_MAX].decode(errors="replace").split())
    return f": {said}" if said else ""
