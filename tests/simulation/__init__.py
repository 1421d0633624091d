"""The simulation: random schedules from a seed, on the log in memory, in virtual time.

- schedule   a seed → partitions, bounds, records, what handlers do, what goes wrong and when
- plans      what one handler does with one record
- apps       the two-hop pipeline whose handlers follow their plans
- world      the log, the workers and whoever starts them again; runs one schedule
- traced     the log in memory, telling the trace what happens on it
- history    what a run left on the log, and how its handlers ran
- checkers   what must hold, each with a name
- run        one seed → what the checkers found, and a digest of all that happened

`python -m tests.simulation --seed N -v` replays a seed.
"""
