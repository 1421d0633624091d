"""FastStream over aiokafka. `python -m benchmarks.peers.faststream_aiokafka < job.json`."""

from faststream.kafka import KafkaBroker  # type: ignore[import-not-found]

from benchmarks.peers.faststream_common import work

if __name__ == "__main__":
    work(KafkaBroker, "aiokafka")
