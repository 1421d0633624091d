"""The house's own errors: what a caller may catch, and what each one asks of them.

    AgentlogError                    every error we raise on purpose
    ├── ConfigurationError           a setting, name or module reference is wrong: fix it, run again
    │   └── InvalidSchema            no Avro schema; where, and why (streams.schemas.compatibility)
    ├── EnvelopeError                this envelope cannot be sent or read as it is (never retried)
    │   ├── InvalidMessage           a message of a file or a person is wrong (streams.messages)
    │   ├── InvalidEnvelope          an envelope field is missing or out of bounds
    │   ├── UnknownType              no schema in the catalogue has this payload type
    │   ├── InvalidPayload           the payload does not fit its schema; names the field's path
    │   ├── EnvelopeTooLarge         larger than a record may be
    │   └── Unroutable               no topic takes it, or its key is missing
    ├── DecodeError                  these bytes are not an envelope we can read
    │   └── UnknownSchema            the writer's schema id is known to no one
    ├── PublishError                 Kafka did not take it; `retriable`: a later try may succeed
    ├── RequestError                 a request that got no answer, or not all of it
    │   ├── RequestTimeout           nobody answered in time
    │   ├── RequestFailed            whoever was asked says that there is no answer, and why
    │   │   └── CommandRejected      the stream that a command was for says no
    │   ├── VersionConflict          the stream is at another version than the command expects
    │   ├── StreamBroken             a piece of a streamed answer is missing
    │   ├── StreamRestarted          a later attempt streams the answer anew
    │   ├── StreamOverrun            its pieces came faster than they were read
    │   ├── TooManyRequests          as many wait already as may
    │   └── ClientClosed             the client was closed meanwhile
    ├── BrokerError                  no Kafka to talk to, or it could not be started
    │   └── RegistryError            no schema registry to talk to, or none that lets us in
    ├── RegistryRefused              a schema registry answered, and does not take what it was given
    ├── LogError                     the log does not hold what it must (a gap, a removed position)
    ├── NotDigestible                a state holds what has no canonical form (streams.digest)
    ├── NonRetriable                 for handlers to raise: no later attempt can mend it
    └── ProofFailed                  what was rebuilt is not what ran

The class decides what happens to a record, never the text. Every message names the thing and the
way out.
"""

from __future__ import annotations

from typing import Any, ClassVar


class AgentlogError(Exception):
    """Base of every error that Agentlog raises on purpose."""

    exit_code: ClassVar[int] = 1
    """What a command that ends with it returns."""


class ConfigurationError(AgentlogError):
    """A setting, a name or a `MODULE:NAME` reference is wrong."""

    exit_code = 2


class EnvelopeError(AgentlogError):
    """An envelope cannot be sent or read as it is. Trying again cannot help."""


class InvalidEnvelope(EnvelopeError):
    """An envelope field is missing or out of bounds; `field` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnknownType(EnvelopeError):
    """No schema in the catalogue has this payload type."""

    def __init__(self, type_name: str, known: str = "") -> None:
        hint = f" (did you mean {known}?)" if known else ""
        super().__init__(
            f"unknown payload type {type_name!r}{hint}; add its .avsc under schemas-avro/ and run "
            "`agentlog schemas lock`"
        )
        self.type_name = type_name


class InvalidPayload(EnvelopeError):
    """A payload does not fit its schema; `path` is the offending field, as in `task.priority`."""

    def __init__(self, type_name: str, path: str, problem: str) -> None:
        super().__init__(f"payload of {type_name}: {path}: {problem}")
        self.type_name = type_name
        self.path = path
        self.problem = problem


class EnvelopeTooLarge(EnvelopeError):
    """An encoded envelope exceeds the record size limit. Sizes are bytes."""

    def __init__(self, envelope_id: str, topic: str, size: int, limit: int) -> None:
        super().__init__(
            f"envelope {envelope_id} for topic {topic} is {size} bytes, the limit is {limit}; "
            "send a reference to the data instead"
        )
        self.envelope_id = envelope_id
        self.topic = topic
        self.size = size
        self.limit = limit


class Unroutable(EnvelopeError):
    """The routing table has no place for this envelope, or the key it needs is missing."""


class DecodeError(AgentlogError):
    """These bytes are not an envelope that we can read."""


class UnknownSchema(DecodeError):
    """A schema id found neither in the catalogue, nor in a registry, nor in the `schemas` topic."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(
            f"schema id {schema_id} is in neither the catalogue, nor the `schemas` topic, nor a "
            "registry; deploy the schemas-avro/ of whoever wrote the record, let it write to the "
            "`schemas` topic, or name its registry by AGENTLOG_REGISTRY_URL"
        )
        self.schema_id = schema_id


class PublishError(AgentlogError):
    """Kafka did not take a record. `retriable` says whether a later try may succeed."""

    def __init__(self, envelope_id: str, topic: str, problem: str, *, retriable: bool) -> None:
        super().__init__(f"envelope {envelope_id} was not written to {topic}: {problem}")
        self.envelope_id = envelope_id
        self.topic = topic
        self.retriable = retriable


class NonRetriable(AgentlogError):
    """Raised by a handler, or a base class of its errors: the record is a dead letter at once."""


class RequestError(AgentlogError):
    """A request got no answer, or not all of it. `request_id` is the id of its envelope."""

    def __init__(self, request_id: str, problem: str) -> None:
        super().__init__(problem)
        self.request_id = request_id


class RequestTimeout(RequestError):
    """No answer came in time. Whoever has the request is told not to go on with it."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id, f"Request timeout: {request_id}")


class RequestFailed(RequestError):
    """Whoever was asked says that there is no answer: `name` is its error's class, or empty."""

    def __init__(self, request_id: str, name: str = "", message: str = "") -> None:
        message = message or "Request failed"
        super().__init__(request_id, f"{name}: {message}" if name else message)
        self.name = name
        self.message = message


class CommandRejected(RequestFailed):
    """An aggregate says no to a command: `name` is short and stable, `message` says it in words."""

    def __init__(self, request_id: str, stream_id: str, name: str, message: str) -> None:
        super().__init__(request_id, name, message)
        self.stream_id = stream_id


class VersionConflict(RequestError):
    """A stream is at `version`, not where the command expects it. `state` is what it is there."""

    def __init__(self, request_id: str, stream_id: str, version: int, state: Any) -> None:
        super().__init__(
            request_id,
            f"{stream_id} is at version {version} by now; decide anew from there",
        )
        self.stream_id = stream_id
        self.version = version
        self.state = state


class StreamBroken(RequestError):
    """A streamed answer has a gap: `expected` and `got` say it in words."""

    def __init__(self, request_id: str, expected: str, got: str) -> None:
        super().__init__(
            request_id, f"streamed answer to {request_id}: expected {expected}, got {got}; ask anew"
        )
        self.expected = expected
        self.got = got


class StreamRestarted(RequestError):
    """A later attempt streams the answer anew: what was read so far is no part of it."""

    def __init__(self, request_id: str, pieces: int) -> None:
        super().__init__(
            request_id,
            f"streamed answer to {request_id}: a later attempt of its handler began anew after "
            f"{pieces} pieces were read; pass `on_restart` to read on, or ask anew",
        )
        self.pieces = pieces


class StreamOverrun(RequestError):
    """A streamed answer came faster than it was read, and more of it waited than may."""

    def __init__(self, request_id: str, pieces: int, size: int) -> None:
        super().__init__(
            request_id,
            f"streamed answer to {request_id}: more than {pieces} pieces or {size} bytes were not "
            "read yet; read it faster, or hand the pieces on",
        )


class TooManyRequests(RequestError):
    """A client has as many requests waiting as it may."""

    def __init__(self, request_id: str, limit: int) -> None:
        super().__init__(
            request_id,
            f"request {request_id} was not sent: {limit} others wait for their answers already; "
            "await some first, or give the client a larger `requests_max`",
        )


class ClientClosed(RequestError):
    """The client was closed before the answer was there, or before the request was sent."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            request_id, f"request {request_id}: the client is closed; ask inside its `async with`"
        )


class BrokerError(AgentlogError):
    """No Kafka to talk to, or the embedded one could not be started."""

    exit_code = 3


class RegistryError(BrokerError):
    """No schema registry to talk to: it is down, lets nobody in, or is none.

    What is done without a broker is done without a registry: a record whose schema cannot be asked
    for now is not given up.
    """


class RegistryRefused(AgentlogError):
    """A schema registry says no to a schema or a level; `subject` is what it was for."""

    def __init__(self, subject: str, problem: str) -> None:
        super().__init__(f"the registry refuses {subject}: {problem}")
        self.subject = subject
        self.problem = problem


class LogError(AgentlogError):
    """The log does not hold what it must: a position that retention removed, a topic made anew."""


class ProofFailed(AgentlogError):
    """What replay rebuilt is not what ran."""
