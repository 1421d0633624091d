"""A real Apache Kafka 4.3.1 without Docker, Maven or Java on the machine.

`EmbeddedKafka` is one for a `with` block; `Instance` is one that has a name and keeps its data;
`tool_command` runs Kafka's own tools on the same jars.

    kafka.lock.json   which jars, and their SHA-256 (lock.py reads it, relock.py makes it)
    jars, maven       download, verify, install: all or nothing
    java              the JRE and its flags
    aot, training     a cache that makes starts fast; how it is made in the background
    node, state       pure: a node's configuration, a started broker's state (last_run keeps it)
    ports, process    what the system knows
    storage           formats the data of a new node
    launch            from a layout to a cluster that answers; diagnosis says why not
    instance          start, find, stop, across processes; users counts who needs it,
                      health asks each node how it is
    temporary, guard  a broker that cannot outlive its owner
"""

from streams.brokers.embedded.health import Condition, NodeHealth, examine, is_degraded
from streams.brokers.embedded.instance import DEFAULT_NAME, Instance, Started, Stopped
from streams.brokers.embedded.java import kafka_jars, tool_command
from streams.brokers.embedded.state import BrokerState
from streams.brokers.embedded.temporary import EmbeddedKafka, RunningNode

__all__ = [
    "DEFAULT_NAME",
    "BrokerState",
    "Condition",
    "EmbeddedKafka",
    "Instance",
    "NodeHealth",
    "RunningNode",
    "Started",
    "Stopped",
    "examine",
    "is_degraded",
    "kafka_jars",
    "tool_command",
]
