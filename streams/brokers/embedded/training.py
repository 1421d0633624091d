"""Make the AOT cache in the background, once, while nobody waits for it.

A process of its own, started after a broker came up
without a cache, at the lowest priority:

1. Wait `DELAY_S`: the first seconds are the user's, and many brokers do not live longer.
2. Start a second broker on data of its own, which notes what it loads; stop it when it answers.
3. Let the JVM make the cache of these notes, check that a JVM takes it, and give it its name.

It never outlives the broker that it was started after: when that ends, so does the training, and
the next start tries again. A lock keeps it to one at a time, and whatever a killed one left is
deleted by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streams.brokers.embedded import aot, java, launch, ports, process
from streams.brokers.embedded.guarding import Guarded
from streams.brokers.embedded.node import ClusterLayout
from streams.brokers.embedded.state import ProcessId
from streams.errors import BrokerError

DELAY_S = 5.0
CREATE_TIMEOUT_S = 180.0
_POLL_S = 0.2
_ROOT = str(Path(__file__).parents[3])
_RUN = f"from {__name__} import main; main()"


def start_in_background(jars: Path, brokers: Sequence[ProcessId]) -> None:
    """Begin a training if a cache is wanted and nobody makes it; it ends with the last broker.

    Returns at once, and never fails: a broker without a cache is only slower to start.
    """
    try:
        if not aot.is_wanted(jars):
            return
        with sole(jars) as alone:
            if not alone:
                return
        births = [part for one in brokers for part in (str(one.pid), one.birth)]
        # The shell goes at once, so that no zombie of ours stays; SIGINT passes its background by.
        background = 'nice -n 19 "$@" </dev/null >"$0" 2>&1 &'
        subprocess.run(  # noqa: S603 (our own argv)
            [
                *("/bin/sh", "-c", background, str(jars / "training.log")),
                *(sys.executable, "-c", _RUN, str(jars), *births),
            ],
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([_ROOT, *filter(None, sys.path)])},
        )
    except OSError:
        return


def train(jars: Path) -> Path:
    """Make the cache of these jars, now. Raises `BrokerError` or `OSError` if it cannot be made."""
    work = jars / "training"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        configuration, draft = work / "notes", work / "draft"
        _record(work / "broker", jars, configuration)
        _run(jars, aot.creation_flags(configuration, draft))
        _run(jars, aot.proof_flags(draft), "-version")
        return aot.adopt(jars, draft)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _record(folder: Path, jars: Path, configuration: Path) -> None:
    layout = ClusterLayout(folder, tuple(ports.assign_ports(1, first_port=None, last_run=())))
    guarded = Guarded(delete=folder)
    flags = aot.recording_flags(configuration)
    launch.launch(layout, jars, guarded, lambda _: None, flags).stop()
    if not configuration.exists():
        raise BrokerError("the broker of the training did not write what it had loaded")


def _run(jars: Path, flags: Sequence[str], *arguments: str) -> None:
    command = java.class_command(jars, flags, *arguments)
    done = subprocess.run(  # noqa: S603 (our own argv)
        command, capture_output=True, text=True, check=False, timeout=CREATE_TIMEOUT_S
    )
    if done.returncode != 0:
        raise BrokerError(f"the JVM made no AOT cache: {(done.stdout + done.stderr)[-500:]}")


@contextmanager
def sole(jars: Path) -> Iterator[bool]:
    """Whether nobody else trains; nobody else does while the block runs."""
    with (jars / "training.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _abandon_when_gone(brokers: Sequence[ProcessId]) -> None:
    """End at once when the brokers have. The guard of our own broker ends that, too.

    A JVM that makes the cache at that moment has a second or two to go and is let run: what it
    writes is deleted by the next training.
    """
    while any(process.is_alive(one) for one in brokers):
        time.sleep(_POLL_S)
    os._exit(0)


def main() -> None:
    """Train as long as a broker lives: `jars pid birth [pid birth …]` are the arguments."""
    jars, facts = Path(sys.argv[1]), sys.argv[2:]
    brokers = [
        ProcessId(int(pid), birth) for pid, birth in zip(facts[::2], facts[1::2], strict=True)
    ]
    threading.Thread(target=_abandon_when_gone, args=(brokers,), daemon=True).start()
    time.sleep(DELAY_S)
    with sole(jars) as alone:
        if alone and aot.is_wanted(jars):
            try:
                train(jars)
            except (BrokerError, OSError, subprocess.TimeoutExpired) as error:
                aot.distrust(jars, str(error))
