"""A tiny parent for a temporary broker: ends it when the Python that owns it dies, however it dies.

Run as a script, with the standard library only. It starts the command, prints its pid, and waits
for the end of its standard input: a pipe whose other end only the owner holds, so that SIGKILL ends
it as surely as a clean exit does. (PR_SET_PDEATHSIG is Linux only, and fires when the *thread* that
started the broker ends.) Then it stops the command and deletes the folder, if it was given one.

If the owner says `keep` before it closes the pipe, the folder stays: a node that is started again
gets a new guard, and only the last one deletes.

It never reaps the command while it waits: the pid cannot become somebody else's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

GRACE_S = 15.0


def main(folder: str, output: str, command: list[str]) -> None:
    """Run `command` until the owner ends; then stop it and delete `folder` (if it names one)."""
    with Path(output).open("ab") as sink:
        child = subprocess.Popen(  # noqa: S603 (the argv comes from java.broker_command)
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    keep = sys.stdin.buffer.read() == b"keep"
    delete = folder and not keep
    if delete:
        child.kill()  # nobody will read its data again
    else:
        child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if delete:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
