"""Where Kafka comes from: one that is there, a container, or the embedded one.

`open_broker` chooses, and stops only what it started; `open_registry` does the same for a schema
registry. `embedded/` holds the embedded Kafka, `apicurio/` the embedded registry beside it.
"""

from streams.brokers.apicurio import EmbeddedRegistry
from streams.brokers.embedded import EmbeddedKafka, tool_command
from streams.brokers.provider import Broker, open_broker, open_registry

__all__ = [
    "Broker",
    "EmbeddedKafka",
    "EmbeddedRegistry",
    "open_broker",
    "open_registry",
    "tool_command",
]
