"""The faults, as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.faults import (
    broker_faults,
    log_faults,
    network_faults,
    owner_faults,
    record_faults,
    worker_faults,
)
from tests.faults.ledger import LEDGER
from tests.faults.pipeline import WIDE
from tests.faults.stage import Fault

PACE_S: Final = 60.0
"""Seconds that a load would take: for 100,000 tasks a third of what two workers can do on two free
cores, so they keep up before the fault, and catch up after it."""

_ROLE_NAMES: Final = {
    "leader": "a partition leader",
    "group_coordinator": "the group coordinator",
    "transaction_coordinator": "the transaction coordinator",
    "controller": "the controller",
}


def _of_brokers() -> Iterator[Fault]:
    for how, make in (("kill", broker_faults.killed), ("pause", broker_faults.paused)):
        for role, (find, placement) in broker_faults.ROLES.items():
            signal = "SIGKILL" if how == "kill" else "SIGSTOP"
            yield Fault(
                name=f"{how}_{role}",
                what=f"{signal} of {_ROLE_NAMES[role]}; back after {broker_faults.AWAY_S:g} s",
                during=make(find),
                placement=placement,
                pace_s=PACE_S,
            )


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault(
            name="kill_worker",
            what=f"SIGKILL of a worker, {worker_faults.KILLS} times",
            during=worker_faults.kill_workers(worker_faults.KILLS),
            pace_s=PACE_S,
        ),
        Fault(
            name="zombie",
            what="SIGSTOP of a worker past its session, then past its transaction; SIGCONT",
            during=worker_faults.make_zombies(
                (worker_faults.PAST_SESSION_S, worker_faults.PAST_TRANSACTION_S)
            ),
            pace_s=PACE_S,
        ),
        *_of_brokers(),
        Fault(
            name="rolling_restart",
            what="every broker ended with SIGTERM and started again, one after the other",
            during=broker_faults.rolling_restart,
            pace_s=PACE_S,
        ),
        Fault(
            name="rebalance_storm",
            what="a worker joins and another leaves every second",
            during=worker_faults.storms(worker_faults.STORM_S),
            pace_s=PACE_S,
        ),
        Fault(
            name="deaf_handler",
            what="partitions revoked, and a worker ended, under handlers that ignore cancellation",
            during=worker_faults.rebalance_the_deaf,
            special=worker_faults.deaf_records,
            begins_at=0.02,
        ),
        Fault(
            name="bad_records",
            what="poison, flaky, undecodable and unknown-schema records, "
            f"{record_faults.BAD_EACH} of each",
            during=record_faults.dead_letters,
            special=record_faults.bad_records,
        ),
        Fault(
            name="killer_records",
            what=f"{record_faults.KILLERS} records that kill the process that handles them (H11)",
            during=record_faults.dead_letters,
            special=record_faults.killers,
            pace_s=PACE_S,
        ),
        Fault(
            name="full_marks",
            what="as much finished beyond the prefix as a commit's metadata holds, then SIGKILL",
            during=record_faults.fill_marks,
            special=record_faults.comb,
            ground=WIDE,
            begins_at=0.05,
        ),
        Fault(
            name="producer_killed",
            what=f"a producer killed inside its transaction, {log_faults.GHOSTS} times",
            during=log_faults.kill_in_transactions(log_faults.GHOSTS),
            pace_s=PACE_S,
        ),
        Fault(
            name="end_txn_held",
            what=f"an EndTxn held past the next transaction (H1), {network_faults.HOLDS} times",
            during=network_faults.hold_end_txns(network_faults.HOLDS),
            setting=network_faults.behind_proxy,
        ),
        Fault(
            name="partition_by_proxy",
            what="a worker cut off: nothing passes, nothing is closed",
            during=network_faults.partition(network_faults.APART_S),
            pace_s=PACE_S,
            setting=network_faults.behind_proxy,
        ),
        Fault(
            name="partition_by_namespace",
            what="a worker cut off by the kernel, in a network namespace of its own",
            during=network_faults.partition(network_faults.APART_S),
            pace_s=PACE_S,
            setting=network_faults.in_namespace,
        ),
        Fault(
            name="heartbeat_lost",
            what="H12: a worker joins, the answer that tells another what to give up is lost",
            during=network_faults.lose_what_to_give_up,
            pace_s=PACE_S,
            setting=network_faults.behind_proxy,
        ),
        Fault(
            name="owner_killed",
            what=f"owners of streams killed when they have decided, {owner_faults.DEATHS} times",
            during=owner_faults.die_deciding(owner_faults.DEATHS),
            special=owner_faults.mortal(owner_faults.DEATHS),
            ground=LEDGER,
            pace_s=PACE_S,
        ),
        Fault(
            name="zombie_owner",
            what="SIGSTOP of an owner past its session, then past its transaction; SIGCONT",
            during=worker_faults.make_zombies(
                (worker_faults.PAST_SESSION_S, worker_faults.PAST_TRANSACTION_S)
            ),
            ground=LEDGER,
            pace_s=PACE_S,
        ),
        Fault(
            name="fork_attempt",
            what="a former owner writes the next event of a stream, and commits as the member "
            f"that it was, {owner_faults.FORKS} times",
            during=owner_faults.fork(owner_faults.FORKS),
            ground=LEDGER,
            pace_s=PACE_S,
        ),
    )
}
"""By name, in the order in which they run."""
