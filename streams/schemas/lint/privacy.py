"""Privacy: the log keeps everything, so what is about people must be known before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from streams.schemas.lint.rules import Breach, Linted, Rule, word_set, words_of
from streams.schemas.walking import FieldSite, without_branches

TAG: Final = "personal_data"
"""Attribute of a field: true if it holds data about people, false if it only looks so."""
_WORDS: Final = word_set(
    "email mail phone mobile telephone surname lastname firstname fullname username birthday "
    "birthdate ssn passport iban gender salary latitude longitude ip"
)
_PHRASES: Final = word_set(
    "first_name last_name full_name display_name user_name family_name given_name birth_date "
    "of_birth credit_card address_line"
)
_ADDRESSES: Final = word_set("address addresses")
_OF_PEOPLE: Final = word_set(
    "home postal street billing shipping delivery mailing residential private work"
)
"""What an address is of a person's with; others are of hosts, wallets, contracts."""


def _tags(linted: Linted) -> Iterator[Breach]:
    for site in linted.fields:
        tag = site.field.get(TAG)
        if tag is not None and not isinstance(tag, bool):
            yield Breach(site.path, f"has {TAG} {tag!r}; write true or false")
        elif tag is None and _is_untold(linted, site) and _is_personal(site.field):
            yield Breach(
                site.path,
                f'looks like data about people; say "{TAG}": true or false in the field, or name '
                "it in subjects.toml",
            )
    for path in sorted(
        linted.personal_data - {without_branches(site.path) for site in linted.fields}
    ):
        yield Breach(path, "is no field, though subjects.toml says that it holds personal data")


def _is_untold(linted: Linted, site: FieldSite) -> bool:
    return without_branches(site.path) not in linted.personal_data


def _is_personal(field: dict[str, str]) -> bool:
    words = words_of(field["name"])
    phrases = map("_".join, pairwise(words))
    if not (_WORDS.isdisjoint(words) and _PHRASES.isdisjoint(phrases)):
        return True
    name = [word for word in words if not word.isdigit()]
    return any(
        last in _ADDRESSES and (len(name) == 1 or first in _OF_PEOPLE)
        for first, last in pairwise(["", *name])
    )


RULES: Final = (
    Rule(
        "personal-data-tag",
        "What must be erased, masked or not written at all is decided field by field, and the log "
        "keeps what nobody decided.",
        _tags,
    ),
)
