"""The fault suite: what becomes of 100,000 records while something breaks (`make faults`).

pipeline, starts    what the workers run: two hops, and a count of handler starts
load                numbered records per key, acknowledged before anything breaks
cluster, roles      three real brokers; who leads, who coordinates, who controls
fleet, churn        worker processes that can be killed, paused and replaced one by one
frames, proxy       Kafka requests on the wire: hold one, or let nothing through
namespaces          a worker in a network namespace of its own
stage               all of it, as a fault is given it
table, …_faults     the faults, as data
evidence, checkers  what the log says afterwards, and what must never be on it
timeline            how long nothing went on, and how fast it went while it was broken
run, report         one fault from its load to its row; the table
"""
