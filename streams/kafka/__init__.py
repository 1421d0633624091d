"""Kafka shells: thin clients around the pure core.

`publisher` (aiokafka) writes, `reader` (confluent-kafka) reads any range in bulk, `tail` follows,
`admin` provisions topics, `schema_topic` keeps the log self-describing; `configs` holds the
clients' settings.
"""
