"""Rehearsal: an app's handlers run again on what they handled, with their effects off.

- on_log       what a group's runs have written because of records: outputs, results of effects
- denial       no network and no processes while handlers run; `kernel`: for C code, too
- performing   one record's handlers, run once more
- outputs      what they publish now against what is on the log
- findings     what came out
- rehearsing   a group's records in order
"""

from consumers.rehearsal.findings import Finding, FindingKind, Rehearsed
from consumers.rehearsal.performing import HandlerStuck
from consumers.rehearsal.rehearsing import rehearse

__all__ = ["Finding", "FindingKind", "HandlerStuck", "Rehearsed", "rehearse"]
