"""Benchmarks: each figure is a ratio against a baseline that ran beside it, in the same minutes.

`python -m benchmarks [NAME…] [--quick] [--json] [--write]`, or `make bench ARGS="…"`.

    publish, dispatch, replay, codec   one bench each: its contenders, its ratios, its bars
    rounds      contenders in turn, A B A B …, so that a busy minute hits all of them
    quiet       waits for a moment in which nobody else uses the machine
    figures     what was measured: rates, ratios round by round, bars
    history     the workload: envelopes like those of a repository's real history
    plain       what one writes without agentlog: a dict, fastavro, headers by hand
    perf_tools  Kafka's own kafka-*-perf-test, from the broker's own jars
    stage       what a bench is given: a broker, sizes, topics of its own
    machine     what it ran on
    report      the tables, and `results.md`
"""
