"""The command line, `agentlog`: one module per family of commands, exit codes in one place.

| exit code | meaning |
| --- | --- |
| 0 | ok |
| 1 | a proof failed, or some input lines were bad |
| 2 | usage: an argument, a setting or a name is wrong |
| 3 | no broker, registry or database to be reached |
"""

from consumers.cli.main import main

__all__ = ["main"]
