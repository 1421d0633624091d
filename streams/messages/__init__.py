"""Messages: the JSON form that people and files use (S3), and the envelopes they become.

`mapping` translates both ways, `models` says what a message may hold, `problems` says what is
wrong with one.
"""

from streams.messages.mapping import (
    PAYLOAD_TYPES,
    InvalidMessage,
    parse_message,
    payload_json,
    to_message,
)

__all__ = ["PAYLOAD_TYPES", "InvalidMessage", "parse_message", "payload_json", "to_message"]
