"""A real Apicurio Registry 3.3.3 without Docker or Java on the machine, beside the embedded Kafka.

`EmbeddedRegistry` is one for a `with` block; `RegistryInstance` is one that has a name and keeps
its data. What is common to both engines stays in `streams.brokers.embedded`: how locked files are
installed, how processes are started, guarded, found again and ended.

    apicurio.lock.json  which archive, its SHA-256, and that of what it unpacks to
    locking, relock     read that lock, make it
    archive             download, verify, unpack, install: all or nothing
    configuration       pure: what Apicurio is told
    state               pure: what a started registry leaves to be found by
    launch              from a layout to a registry that answers, or why it does not
    instance            start, find, stop, across processes
    temporary           a registry that cannot outlive its owner
"""

from streams.brokers.apicurio.instance import RegistryInstance, RegistryStarted
from streams.brokers.apicurio.state import RegistryState
from streams.brokers.apicurio.temporary import EmbeddedRegistry

__all__ = ["EmbeddedRegistry", "RegistryInstance", "RegistryStarted", "RegistryState"]
