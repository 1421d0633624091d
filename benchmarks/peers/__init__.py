"""The dispatch bench's peers, each a program of its own in the peers' environment.

    requirements.in, requirements.lock   that environment; `make peers` installs it
    job                                  what a peer is asked to do, and its answer
    faststream_aiokafka, faststream_confluent, quix   the programs

Each reads a job as JSON on stdin, handles so many records of a topic as a new group, and prints one
line of JSON. Nothing here imports agentlog.
"""
