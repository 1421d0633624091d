"""Maven, as far as we need it: a thin port over `jgo`, which is optional and untyped.

Where jars come from is the user's to say, the way jgo says it: the `[repositories]` of `jgo.conf`
(or of the file that `JGO_CONFIG_FILE` names). An entry called `central` replaces jgo's default
repository; proxies and certificates follow the environment, as `requests` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.brokers.embedded.lock import FULL_COORDINATES, Root
from streams.brokers.embedded.need import KAFKA, Need
from streams.errors import BrokerError

REQUEST_TIMEOUT_S = 30


def open_repositories(
    folder: Path, need: Need = KAFKA, on_bytes: Callable[[int], None] | None = None
) -> Any:
    """jgo's context over the user's repositories; downloads land below `folder`.

    `on_bytes` is told of every piece of a download, in bytes.
    """
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 (optional)
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415
    except ImportError as error:
        raise need.missing_extra() from error

    @contextmanager
    def heard(name: str, size: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG001 (jgo's)
        assert on_bytes is not None
        yield on_bytes

    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(
        resolver=PythonResolver(progress_callback=heard) if on_bytes else None,
        repo_cache=folder,
        remote_repos=repositories,
        timeout=REQUEST_TIMEOUT_S,
    )


def fetch_jar(context: Any, coordinates: str, need: Need = KAFKA) -> Path:
    """Bring one artifact into the context's folder and return its path. Checks nothing."""
    with _plain_errors(coordinates, need):
        dependency = context.create_dependency(_coordinate(coordinates))
        path: Path = dependency.artifact.resolve()
    return path


def resolve_closure(context: Any, roots: tuple[Root, ...]) -> list[str]:
    """The coordinates of `roots` and of all that they need at run time, sorted."""
    dependencies = []
    for root in roots:
        excluded = [context.project(*name.split(":")) for name in root.excluded]
        dependency = context.create_dependency(root.coordinates, exclusions=excluded)
        dependency.raw = not root.managed
        dependencies.append(dependency)
    with _plain_errors(", ".join(root.coordinates for root in roots), KAFKA):
        named, transitive = context.resolver.resolve(dependencies)
    return sorted({f"{d.groupId}:{d.artifactId}:{d.version}" for d in [*named, *transitive]})


def _coordinate(text: str) -> Any:
    """`group:artifact:packaging:classifier:version` is spelled out for jgo, which would take a
    packaging such as `tar.gz` for a classifier; `group:artifact:version` it reads itself.
    """
    from jgo.parse import Coordinate  # noqa: PLC0415 (optional)

    parts = text.split(":")
    if len(parts) != FULL_COORDINATES:
        return text
    group, artifact, packaging, classifier, version = parts
    return Coordinate(
        groupId=group,
        artifactId=artifact,
        packaging=packaging,
        classifier=classifier,
        version=version,
    )


@contextmanager
def _plain_errors(what: str, need: Need) -> Iterator[None]:
    """jgo's and requests' errors as one sentence that says what to do."""
    import requests  # noqa: PLC0415 (comes with jgo)

    advice = (
        "check the network or the proxy and run again; a mirror goes into jgo.conf under "
        f"[repositories] as `central = URL`; or {need.instead}"
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
