"""Where Kafka comes from: the embedded one, installed, started, found, killed, explained."""
