"""Upcasters: what a stored version says, in the words of the next one.

Avro's resolution fills in, drops and promotes. It cannot split a name, change a unit or say what a
missing field must have been. An upcaster can: a pure function from the fields of one version to
those of the next, kept beside the schemas, in `upcasters.py` of their folder.

    from streams.schemas import Upcasters

    upcasters = Upcasters()

    @upcasters.step("acme.build.BuildBroke", from_version=1)
    def with_branch(fields):
        return {**fields, "branch": fields["ref"].removeprefix("refs/heads/")}

A payload climbs from its writer's version to today's: over a step where there is one, else by
resolution to where the next step begins, or to the top. What a step returns is written as the next
version's schema says, so that it cannot say more than that version could.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import fastavro

from streams.errors import ConfigurationError
from streams.schemas.compatibility import Severity, compare, parse_schema
from streams.schemas.decoder import Decoder
from streams.schemas.misfit import find_misfit
from streams.schemas.resolution import resolving

if TYPE_CHECKING:
    from streams.schemas.writer_schema import Schema, WriterSchema

UPCASTERS_FILE: Final = "upcasters.py"

_write: Final[Any] = fastavro.schemaless_writer

Step = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From the fields of one version to those of the next. Pure: same fields, same result."""

StepT = TypeVar("StepT", bound=Step)


class Rung(NamedTuple):
    """One version of a type on the way to today's."""

    name: str
    version: int
    writer: WriterSchema
    step: Step | None = None
    """To the next version; None: Avro's resolution."""

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class Upcasters:
    """The steps of one schemas folder."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, int], Step] = {}
        """By type and the version that they begin at."""
        self.retired: dict[str, int] = {}
        """By type: the last version that is on no log any more."""
        self.sha256 = ""
        """Of the file's text; what tells two of them apart."""

    def step(self, type_name: str, *, from_version: int) -> Callable[[StepT], StepT]:
        """Decorates the function that makes the fields of the next version.

        Raises `ConfigurationError` if there is one already.
        """

        def register(function: StepT) -> StepT:
            if (type_name, from_version) in self.steps:
                raise ConfigurationError(f"{type_name} v{from_version} has two upcasters")
            self.steps[type_name, from_version] = function
            return function

        return register

    def retire(self, type_name: str, *, up_to: int) -> None:
        """Nothing of these versions is on a log any more: nothing need be able to read them."""
        self.retired[type_name] = up_to


def load_upcasters(folder: Path) -> Upcasters:
    """Those of a schemas folder; none where it has no `upcasters.py`.

    Raises `ConfigurationError` if that cannot be imported, or has no `upcasters` in it.
    """
    path = folder / UPCASTERS_FILE
    if not path.is_file():
        return Upcasters()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = importlib.util.spec_from_file_location(f"agentlog_upcasters_{digest[:16]}", path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except Exception as error:
        raise ConfigurationError(f"{path}: {type(error).__name__}: {error}") from error
    found = getattr(module, "upcasters", None)
    if not isinstance(found, Upcasters):
        raise ConfigurationError(f"{path} has no `upcasters = Upcasters()`")
    found.sha256 = digest
    return found


def climb(rungs: Sequence[Rung]) -> Decoder:
    """Decodes what the first of these versions wrote into what the last one says."""
    first, last = rungs[0], rungs[-1]
    at = next((n for n, rung in enumerate(rungs[:-1]) if rung.step is not None), None)
    if at is None:
        return _resolving(first.writer, last.writer)
    below, step, following = rungs[at], rungs[at].step, rungs[at + 1]
    assert step is not None
    reach, go_on = _resolving(first.writer, below.writer), climb(rungs[at + 1 :])
    name = getattr(step, "__qualname__", repr(step))

    def decode(b: bytes, i: int) -> Any:
        fields = reach(b, i)
        try:
            raised = dict(step(fields))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"the upcaster {name} of {below} raised {problem}") from error
        return go_on(_encoded(raised, following, name), 0)

    return decode


def _encoded(fields: dict[str, Any], rung: Rung, name: str) -> bytes:
    if misfit := find_misfit(rung.writer.payload, fields):
        raise ValueError(
            f"the upcaster {name} made what is no {rung}: {misfit.path}: {misfit.problem}"
        )
    buffer = BytesIO()
    _write(buffer, rung.writer.payload, fields)
    return buffer.getvalue()


def _resolving(writer: WriterSchema, wanted: WriterSchema) -> Decoder:
    if writer.id == wanted.id:
        return writer.payload_decoder
    return resolving(writer.payload, wanted.payload)


def require_way_up(rungs: Sequence[Rung], upcasters: Upcasters) -> None:
    """Every version but the retired ones must reach the last. Raises `ConfigurationError`.

    Checked when schemas are loaded: a missing step is found before the first record that needs it.
    """
    begins = len(rungs) - 1
    for at in range(len(rungs) - 2, -1, -1):
        rung, goal = rungs[at], rungs[begins]
        if rung.step is not None:
            begins = at
        elif rung.version > upcasters.retired.get(rung.name, 0):
            why = _unreadable(rung.writer.payload, goal.writer.payload)
            if why:
                raise ConfigurationError(
                    f"{rung} cannot be read as {goal}: {why}; put an upcaster from version "
                    f"{rung.version} into {UPCASTERS_FILE}, or retire the version if no log has it"
                )


def require_known(upcasters: Upcasters, ladders: Sequence[Sequence[Rung]]) -> None:
    """Every step must begin at a released version below today's. Raises `ConfigurationError`."""
    beginnings = {(rung.name, rung.version) for rungs in ladders for rung in rungs[:-1]}
    for name, version in upcasters.steps.keys() - beginnings:
        known = sorted(number for other, number in beginnings if other == name)
        raise ConfigurationError(
            f"{UPCASTERS_FILE} has a step from {name} v{version}; versions of that name before "
            f"today's: {', '.join(map(str, known)) or 'none'}"
        )


def up_to(
    writer: WriterSchema, name: str, released: Sequence[Rung], upcasters: Upcasters
) -> tuple[Rung, ...]:
    """A ladder with another end: up to `writer`, which may be released or not, by these steps."""
    rungs = [
        rung._replace(step=upcasters.steps.get((rung.name, rung.version))) for rung in released
    ]
    ids = [rung.writer.id for rung in rungs]
    if writer.id in ids:
        return tuple(rungs[: ids.index(writer.id) + 1])
    return (*rungs, Rung(name, 0, writer))


def _unreadable(written: Schema, wanted: Schema) -> str:
    """Why one cannot be read as the other; empty if it can."""
    report = compare(*(parse_schema(one, released=True) for one in (written, wanted)))
    if report.compatible:
        return ""
    worst = next(one for one in report.findings if one.severity is Severity.ERROR)
    return f"{worst.path}: {worst.message}"
