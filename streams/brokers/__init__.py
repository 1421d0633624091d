"""Where Kafka comes from: one that is there, a container, or the embedded one.

`open_broker` chooses, and stops only what it started. `embedded/` holds the embedded Kafka.
"""

from streams.brokers.embedded import EmbeddedKafka, tool_command
from streams.brokers.provider import Broker, open_broker

__all__ = ["Broker", "EmbeddedKafka", "open_broker", "tool_command"]
