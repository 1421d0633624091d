"""Rehearsing: the records that a group has handled, handled once more, partition by partition.

1. The journal says which records were handled, and which process runs did it.
2. All that these runs have written is read (`on_log`): a commit holds a record's outcome and its
   outputs, and the journal is read first, so nothing of it can be missing.
3. The handled records below the cut are read in order. Handlers run on a thread of their own, one
   record at a time, with the network denied; reading goes on outside of it.

Nothing is written to the log, and no group is joined.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

from consumers.aggregates import AggregateApp
from consumers.app import App
from consumers.audit import GroupBooks, read_books
from consumers.folds import OnProgress
from consumers.rehearsal.denial import denied
from consumers.rehearsal.findings import Rehearsed
from consumers.rehearsal.kernel import refuse_connections
from consumers.rehearsal.on_log import GroupOnLog
from consumers.rehearsal.performing import Performing
from streams.cuts import Cut
from streams.errors import ConfigurationError, DecodeError
from streams.ports import LogReader
from streams.record import Record
from streams.schemas import Codec
from streams.topics import Namespace

JOIN_S_MAX: Final = 10.0
"""Seconds that the handlers' thread gets to end."""


def rehearse(
    app: App,
    *,
    reader: LogReader,
    codec: Codec,
    namespace: Namespace,
    cut: Cut | None = None,
    group: str | None = None,
    on_progress: OnProgress | None = None,
) -> Rehearsed:
    """Run an app's handlers again on what they handled below `cut` (default: the log's end).

    `group` is the logical name under which the records were handled (default: the app's). It
    blocks, and needs no event loop. Raises `ConfigurationError` for an app of aggregates and for a
    group without a journal, `LogError` for a cut of another log.
    """
    if isinstance(app, AggregateApp):
        raise ConfigurationError(
            f"app {app.name!r} decides for aggregates: their events are compared with the states "
            "that they must give (`agentlog prove`), and with other code by `agentlog what-if`"
        )
    began, name = time.monotonic(), group or app.name
    books = _books(reader, codec, namespace, name)
    topics = namespace.topics(app.topics)
    now = reader.ends(topics)
    cut = (now if cut is None else cut).of(topics)
    cut.require_same_log(now)
    with ExitStack() as stack:
        on_log = stack.enter_context(GroupOnLog(codec, namespace))
        on_log.load(reader, books.work_by_run.keys())
        performing = Performing(app, name, on_log, codec, namespace)
        stack.callback(performing.close)
        stack.enter_context(denied(performing.refuse))
        thread = stack.enter_context(HandlersThread())
        visible = _through(reader, codec, cut, books, performing, thread, on_progress)
    return Rehearsed(
        app=app.name,
        group=namespace.group(name),
        cut=cut,
        records=performing.records,
        passed_over=visible - performing.records,
        runs=performing.runs,
        outputs=performing.outputs,
        effects_served=performing.effects_served,
        sent_at_once=performing.sent_at_once,
        not_compared=performing.not_compared,
        counts=dict(performing.counts),
        findings=tuple(performing.findings),
        kernel_guard=thread.kernel_guard,
        seconds=time.monotonic() - began,
    )


def _books(reader: LogReader, codec: Codec, namespace: Namespace, name: str) -> GroupBooks:
    books = read_books(reader, codec, namespace)
    found = books.get(namespace.group(name))
    if found is None:
        known = ", ".join(sorted(one.removeprefix(f"{namespace.name}.") for one in books))
        raise ConfigurationError(
            f"group {name} has no journal in namespace {namespace.name}, so nothing says what it "
            f"handled; groups that have one: {known or 'none'} (--group names another)"
        )
    return found


def _through(
    reader: LogReader,
    codec: Codec,
    cut: Cut,
    books: GroupBooks,
    performing: Performing,
    thread: HandlersThread,
    on_progress: OnProgress | None,
) -> int:
    """All of the cut; how many records were visible."""
    starts = reader.starts(cut.topic_ids)
    total, before, visible = sum(end for _, end in cut), 0, 0
    for source, end in cut:
        for batch in reader.read(source, min(starts[source], end), end):
            handled = [
                # Decoded here first: a schema that must be asked for comes from Kafka.
                (record, _created_at(codec, record))
                for record in batch
                if books.handled_at(source, record.position)
            ]
            if handled:
                thread.run(performing.run(handled))
            visible += len(batch)
            if on_progress:
                on_progress(before + batch[-1].position + 1, total)
        before += end
    return visible


def _created_at(codec: Codec, record: Record) -> int:
    with suppress(DecodeError):
        return codec.decode(record.value, record.headers).created_at
    return 0


class HandlersThread:
    """A thread with an event loop, from which nothing is connected to."""

    def __init__(self) -> None:
        self.kernel_guard = False
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._live, name="agentlog-rehearsal", daemon=True)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Returns when it is done; raises what it raises."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop.result()).result()

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = self._loop.result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(JOIN_S_MAX)

    def _live(self) -> None:
        try:
            with asyncio.Runner() as runner:
                loop = runner.get_loop()
                self.kernel_guard = refuse_connections()
                self._loop.set_result(loop)
                loop.run_forever()
        except BaseException as error:
            if not self._loop.done():  # whoever waits for it hears of it
                self._loop.set_exception(error)
            raise
