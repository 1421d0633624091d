"""The catalogue as one page of HTML. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from consumers.pages import facts, page, table, text
from consumers.schema_catalogue.entries import FieldEntry, TypeEntry, Use, VersionEntry
from consumers.usage import Writer
from streams.schemas.lint import RULES

_STYLE: Final = Path(__file__).with_name("page.css")
_DOC_CHARS_MAX: Final = 2_000
_NAME_CHARS_MAX: Final = 300
_DEFAULT_CHARS_MAX: Final = 120
ENVELOPE: Final = "envelope"
"""Anchor of the envelope's fields."""


def catalogue_page(
    types: Sequence[TypeEntry], envelope: Sequence[FieldEntry], *, title: str, code: Sequence[str]
) -> str:
    """The whole page. `code` says which code was looked at for readers and writers."""
    families = {name: list(found) for name, found in groupby(types, key=lambda one: one.family)}
    heading = _text(title)
    return page(
        f"{heading} · agentlog schemas",
        _STYLE,
        (
            f'<nav>{"".join(_links(families))}<h2><a href="#{ENVELOPE}">Envelope</a></h2></nav>',
            f"<main><header><h1>{heading}</h1>",
            '<p class="of">Payload types: what they say, who owns, writes and reads them, and '
            "how they came to be what they are.</p></header>",
            _figures(types),
            _overview(types),
            *(_type(one) for one in types),
            _envelope(envelope),
            "<footer>agentlog schemas docs · read by handlers, projections, read models and "
            f"aggregates, and written, as the source of {_code(code)} says; what other code does "
            "is not known here.</footer></main>",
        ),
    )


def _text(said: str, chars_max: int = _NAME_CHARS_MAX) -> str:
    return text(said, chars_max)


def _mono(said: str, chars_max: int = _NAME_CHARS_MAX) -> str:
    return f"<code>{_text(said, chars_max)}</code>"


def _code(code: Sequence[str]) -> str:
    return ", ".join(["agentlog itself", *map(_mono, code)])


def _links(families: dict[str, list[TypeEntry]]) -> Iterator[str]:
    for name, found in families.items():
        links = "".join(
            f'<li><a href="#{escape(one.name)}">{_text(one.last_name)}</a></li>' for one in found
        )
        yield f"<h2>{_text(name)}</h2><ul>{links}</ul>"


def _figures(types: Sequence[TypeEntry]) -> str:
    owners = {one.subject.owner for one in types if one.subject and one.subject.owner}
    personal = sum(any(field.personal for field in one.fields) for one in types)
    deprecated = sum(bool(one.subject and one.subject.deprecated) for one in types)
    unreleased = sum(one.versions[0].number == 0 for one in types if one.versions)
    released = sum(version.number > 0 for one in types for version in one.versions)
    found = [
        ("", f"{len(types):,}", "types"),
        ("", f"{released:,}", "released versions"),
        ("", f"{len(owners):,}", "owner" if len(owners) == 1 else "owners"),
        ("", f"{personal:,}", "with personal data"),
    ]
    if deprecated:
        found.append(("late", f"{deprecated:,}", "deprecated"))
    if unreleased:
        found.append(("late", f"{unreleased:,}", "changed, not locked"))
    return facts(found)


def _overview(types: Sequence[TypeEntry]) -> str:
    rows = (
        (
            f'<a href="#{escape(one.name)}">{_text(one.last_name)}</a>{_deprecated(one)}',
            _text(one.kind),
            _version(one.versions),
            _text(one.subject.mode if one.subject else "–"),
            _text(one.subject.owner if one.subject else "–"),
            ", ".join(map(_text, one.topics)),
            _count(one.writers),
            _count(one.readers),
        )
        for one in types
    )
    names = ("type", "kind", "version", "mode", "owner", "topics", "writers", "readers")
    return table(names, rows, "overview")


def _count(found: Sequence[object]) -> str:
    return f"{len(found)}" if found else '<span class="none">–</span>'


def _version(versions: Sequence[VersionEntry]) -> str:
    if not versions:
        return "–"
    newest = versions[0]
    return f"v{newest.number}" if newest.number else '<span class="chip late">not locked</span>'


def _deprecated(one: TypeEntry) -> str:
    is_so = one.subject is not None and one.subject.deprecated
    return ' <span class="chip late">deprecated</span>' if is_so else ""


def _type(one: TypeEntry) -> str:
    subject = one.subject
    chips = [("kind", one.kind.value)]
    if subject is not None:
        chips += [("mode", subject.mode.value), ("owner", subject.owner)]
    shown = "".join(
        f'<span class="chip"><i>{name}</i> {_text(value)}</span>' for name, value in chips if value
    )
    gone = (
        f'<p class="notice">Deprecated: {_text(subject.deprecated, _DOC_CHARS_MAX)}</p>'
        if (subject and subject.deprecated)
        else ""
    )
    return "".join(
        (
            f'<article id="{escape(one.name)}"><h2><a href="#{escape(one.name)}">',
            f"{_text(one.last_name)}</a></h2>",
            f'<p class="of">{_mono(one.name)} · {_mono(one.file)}</p>',
            f'<p class="chips">{shown}{_personal_chip(one)}</p>{gone}',
            f'<p class="doc">{_text(one.doc, _DOC_CHARS_MAX)}</p>',
            _facts(one),
            _fields(one.fields),
            _section("Written by", _writers(one.writers)),
            _section("Read by", _readers(one.readers)),
            _section("Versions", _versions(one.versions)),
            _section("Waived", _waivers(one)),
            f"<details><summary>Schema</summary><pre>{escape(json.dumps(one.schema, indent=2))}",
            "</pre></details></article>",
        )
    )


def _personal_chip(one: TypeEntry) -> str:
    has = any(field.personal for field in one.fields)
    return '<span class="chip late">personal data</span>' if has else ""


def _facts(one: TypeEntry) -> str:
    found = [("topics", ", ".join(map(_mono, one.topics)))]
    if one.aliases:
        found.append(("was called", ", ".join(map(_mono, one.aliases))))
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in found)}</dl>"


def _fields(fields: Sequence[FieldEntry]) -> str:
    if not fields:
        return '<p class="of">It has no fields: that it was sent is all that it says.</p>'
    rows = (
        (
            f'<span class="path" style="--d:{one.depth}">{_mono(_last(one.path))}</span>',
            _mono(one.type),
            _default(one),
            _doc(one),
        )
        for one in fields
    )
    return table(("field", "type", "default", ""), rows, "fields")


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _default(one: FieldEntry) -> str:
    if one.default is None:
        return '<span class="required">required</span>'
    return _mono(one.default, _DEFAULT_CHARS_MAX)


def _doc(one: FieldEntry) -> str:
    personal = '<span class="chip late">personal data</span> ' if one.personal else ""
    symbols = " ".join(f'<span class="symbol">{_text(each)}</span>' for each in one.symbols)
    below = f'<div class="symbols">{symbols}</div>' if symbols else ""
    return f"{personal}{_text(one.doc, _DOC_CHARS_MAX)}{below}"


def _section(title: str, body: str) -> str:
    return f"<section><h3>{title}</h3>{body}</section>" if body else ""


def _writers(writers: Sequence[Writer]) -> str:
    rows = ((_mono(one.function or "(module)"), _mono(one.place)) for one in writers)
    return table(("function", "where"), rows)


def _readers(uses: Sequence[Use]) -> str:
    rows = (
        (
            f"{_text(use.reader.kind)} <b>{_text(use.reader.owner)}</b>",
            _read_fields(use),
            _mono(use.reader.place),
        )
        for use in uses
    )
    return table(("who", "which fields", "where"), rows)


def _read_fields(use: Use) -> str:
    reads = use.reads
    if not use.reader.is_readable:
        return '<span class="unknown">not known: it has no source</span>'
    fields = [_mono(one) for one in reads.fields]
    if reads.whole:
        why = f"handed to {', '.join(reads.lost)}" if reads.lost else "read as a whole"
        fields.append(f'<span class="unknown">any field: {_text(why)}</span>')
    return " ".join(fields) or '<span class="none">the envelope alone</span>'


def _versions(versions: Sequence[VersionEntry]) -> str:
    return "".join(f'<div class="version">{_one_version(one)}</div>' for one in versions)


def _one_version(one: VersionEntry) -> str:
    name = f"v{one.number} <code>{one.id}</code>" if one.number else "not locked yet"
    changed = "".join(
        f"<li>{_mono(change.path or '(the type)')} {_text(change.message, _DOC_CHARS_MAX)}</li>"
        for change in one.changes
    )
    what = f"<ul>{changed}</ul>" if changed else '<span class="none">the first</span>'
    return f"<b>{name}</b> {what}"


def _waivers(one: TypeEntry) -> str:
    rows = (
        (
            f'<span title="{escape(RULES[each.rule].reason) if each.rule in RULES else ""}">'
            f"{_mono(each.rule)}</span>",
            " ".join(map(_mono, each.paths)) or "the type",
            _text(each.reason, _DOC_CHARS_MAX),
            _text(each.owner),
            each.expires.isoformat(),
        )
        for each in (one.subject.waivers if one.subject else ())
    )
    return table(("rule", "where", "because", "owner", "until"), rows)


def _envelope(fields: Sequence[FieldEntry]) -> str:
    return (
        f'<article id="{ENVELOPE}"><h2><a href="#{ENVELOPE}">Envelope</a></h2>'
        '<p class="doc">What every record has before its payload: whoever routes, counts or '
        f"replays needs nothing else.</p>{_fields(fields)}</article>"
    )
