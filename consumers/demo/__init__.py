"""The main job: a real history and a live fleet on real Kafka, a worker killed, all of it proven.

`run` directs; `fleet` is what the workers do, `pods` what the agents' own processes do, `ledger`
what is noted beside the log, `rebuild` reads everything once more, `proof` says what must hold,
`report` what a person sees.
"""
