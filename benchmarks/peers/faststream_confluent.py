"""FastStream over confluent-kafka. `python -m benchmarks.peers.faststream_confluent < job.json`."""

from faststream.confluent import KafkaBroker  # type: ignore[import-not-found]

from benchmarks.peers.faststream_common import work

if __name__ == "__main__":
    work(KafkaBroker, "confluent-kafka")
