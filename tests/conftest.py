"""What every test may ask for: one real Kafka for the whole run, and a namespace of its own."""

pytest_plugins = ["streams.brokers.fixtures"]
