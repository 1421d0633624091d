"""Benchmarks: each figure is a ratio against a baseline that ran beside it, in the same minutes.

`python -m benchmarks [NAME…] [--quick] [--json] [--write] [--profile]`, or `make bench ARGS="…"`.

    publish, dispatch, frameworks, lanes, latency, footprint, cancels, memory, replay, codec
                one bench each: its contenders, its figures, its bars
    rebuild     one more, of five million records, which runs only if it is named
    rounds      contenders in turn, A B A B …, so that a busy minute hits all of them
    quiet       waits for a moment in which nobody else uses the machine
    figures     what was measured: rates, ratios round by round, values, bars
    history     the workload: envelopes like those of a repository's real history
    fill        that, on a topic, as quickly as may be
    workers     our worker as a contender
    elsewhere   a part of a bench in a process of its own
    watcher     outputs, and when their inputs were published
    plain       what one writes without agentlog, from our envelopes
    wire        the log's records with fastavro alone: for the baselines and the peers
    peers       FastStream and Quix Streams, in an environment of their own
    perf_tools  Kafka's own kafka-*-perf-test, from the broker's own jars
    logsizes    Kafka's own kafka-log-dirs
    profiling   where a run's time goes (`--profile`)
    stage       what a bench is given: a broker, sizes, topics of its own
    machine     what it ran on
    report      the tables, and `results.md`
"""
