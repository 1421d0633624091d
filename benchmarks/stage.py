"""What a bench is given: a broker, the size of the run, and topics of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from msgspec.structs import replace

from streams.kafka.admin import TopicAdmin
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bench runs. `quick` asks for a run that shows that it works, not what it is worth."""

    bootstrap_servers: str
    quick: bool
    say: Callable[[str], None]

    def size(self, full: int, quick: int) -> int:
        """A number of records or rounds, by the run's size."""
        return quick if self.quick else full

    @contextmanager
    def namespaces(
        self, topics: Sequence[str], count: int = 1, *, partitions: int | None = None
    ) -> Iterator[list[Namespace]]:
        """Fresh namespaces with these topics (logical names); all deleted at the end.

        `partitions` is how many each of them has, instead of what the catalogue says.
        """
        admin = TopicAdmin(self.bootstrap_servers)
        fresh = [Namespace(f"bench-{secrets.token_hex(6)}") for _ in range(count)]
        wanted = {name: TOPICS[name] for name in topics}
        if partitions is not None:
            wanted = {name: replace(topic, partitions=partitions) for name, topic in wanted.items()}
        for namespace in fresh:
            admin.apply(admin.plan(namespace, wanted))
        try:
            yield fresh
        finally:
            admin.delete(namespace.topic(name) for namespace in fresh for name in topics)


def open_codec() -> Codec:
    """A codec of the built-in types; picklable by name, for replays in processes."""
    return Codec(Catalogue.load())
