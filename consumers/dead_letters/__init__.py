"""Dead letters on the log: what there is, what was decided about it, redrive and drop.

- places       `tasks.dlq[0]@12`
- resolutions  `DeadLetterResolved` on `events`, folded
- listing      dead letters found and filtered, each with its state
- planning     what is about to be done, in bounded portions
- redrive      doing it, one transaction per portion
"""

from consumers.dead_letters.listing import OPEN, DeadLetters, Entry, Facts, Wanted
from consumers.dead_letters.places import SOURCES, Place, parse_place, parse_topic
from consumers.dead_letters.planning import Plan, plan
from consumers.dead_letters.redrive import Done, Redrive, TakenOver
from consumers.dead_letters.resolutions import Resolution, Resolutions

__all__ = [
    "OPEN",
    "SOURCES",
    "DeadLetters",
    "Done",
    "Entry",
    "Facts",
    "Place",
    "Plan",
    "Redrive",
    "Resolution",
    "Resolutions",
    "TakenOver",
    "Wanted",
    "parse_place",
    "parse_topic",
    "plan",
]
