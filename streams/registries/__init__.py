"""Schema registries that speak the Confluent Schema Registry's API: Apicurio, Confluent, Karapace.

`schemas-avro/` stays the source of truth. A registry is a copy for tools that know no other way to
a schema, and a further place to look for an id that is in no catalogue of ours.

    access       pure: the URL and the token that settings name
    transport    requests: who we are, what is tried again, what an error means
    client       the API: subjects, versions, ids, references, compatibility levels
    subjects     pure: the subjects of a type (TopicRecordName)
    plan         pure: what is on one side and not on the other
    syncing      reads both sides, carries a plan out; never overwrites
    source       the writer schema of an id that nobody else knows
    numbering    types under the ids that a registry gave them
"""

from streams.registries.client import Reference, RegisteredSchema, RegistryClient
from streams.registries.source import RegistrySource

__all__ = ["Reference", "RegisteredSchema", "RegistryClient", "RegistrySource"]
