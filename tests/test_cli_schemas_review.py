"""`agentlog schemas review` on real Kafka: three changes, each told apart by what is stored."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from streams.errors import BrokerError, ConfigurationError
from streams.headers import record_headers
from streams.schemas import Catalogue, Codec
from streams.topics import EVENTS
from tests.consumers.reviewing.stored import PLACED, envelope, placed
from tests.consumers.worker.harness import Bench
from tests.schemas.folder import SUBJECTS, field, record, write_folder, write_type

Run = Callable[..., Any]
BY = {"type": "enum", "name": "By", "symbols": ["CARD", "BILL", "CHEQUE"], "doc": "How.",
      "default": "CARD"}  # fmt: skip
FIELDS = (
    field("by", BY),
    field("note", ["null", "string", "long"], default=None),
)
SAFE = placed(*FIELDS, field("gift_wrap", "boolean", default=False))
CHANGING = placed(field("by", {**BY, "symbols": ["CARD", "BILL"]}), FIELDS[1])
NARROWING = placed(FIELDS[0], field("note", ["null", "string"], default=None))
CARD, CHEQUES = 40, 7


@pytest.fixture(scope="module")
def stored(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Path]:
    """A namespace with orders, 7 of them paid by cheque; and their schemas in a repository."""
    top = tmp_path_factory.mktemp("shop")
    folder = write_folder(
        top / "schemas", placed(*FIELDS), subjects=SUBJECTS.replace("FULL", "BACKWARD")
    )
    (top / "folds.py").write_text(FOLDS)
    git(top, "init", "--quiet")
    commit(top, "one")
    bench = Bench(kafka, f"test-{secrets.token_hex(6)}")
    payloads = [{"by": "CARD", "note": None} for _ in range(CARD)]
    payloads += [{"by": "CHEQUE", "note": f"no. {n}"} for n in range(CHEQUES)]
    send(bench, folder, payloads)
    return bench, folder


FOLDS = '''
class Paid:
    """Orders by how they were paid."""
    name, version, topics = "paid", 1, ("events",)
    def initial(self): return {}
    def apply(self, state, record, envelope):
        by = envelope.payload["by"]
        return {**state, by: state.get(by, 0) + 1}
    def merge(self, a, b): return {k: a.get(k, 0) + b.get(k, 0) for k in {*a, *b}}
    def view(self, state): return state
paid = Paid()
'''


def git(top: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(top), *arguments], check=True)


def commit(top: Path, tag: str) -> None:
    git(top, "add", ".")
    git(top, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", tag)
    git(top, "tag", tag)


def send(bench: Bench, folder: Path, payloads: Iterable[dict[str, Any]]) -> None:
    codec = Codec(Catalogue.load(folder))
    with bench.raw_producer() as producer:
        for n, payload in enumerate(payloads):
            one = envelope(n, payload)
            producer.produce(
                bench.namespace.topic(EVENTS),
                codec.encode(one),
                one.correlation_id,
                headers=record_headers(one),  # type: ignore[arg-type]
            )


@pytest.fixture
def folder(stored: tuple[Bench, Path], tmp_path: Path) -> Path:
    """A clone of the repository, to be changed."""
    shutil.copytree(stored[1].parent, tmp_path / "shop")
    return tmp_path / "shop" / "schemas"


@pytest.fixture
def run(stored: tuple[Bench, Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`agentlog schemas review` of that clone against its first commit."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", stored[0].servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", stored[0].namespace.name)
    monkeypatch.setenv("AGENTLOG_SCHEMAS_DIR", str(folder))
    monkeypatch.setattr("consumers.cli.output.stdout._width", 160)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.chdir(folder.parent)
    return lambda *arguments: CliRunner().invoke(
        cli, ["schemas", "review", "--base", "one", *arguments]
    )


def reviewed(result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document, and what it says of the one type."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    document: dict[str, Any] = json.loads(result.stdout)
    [one] = document["types"]
    assert one["type"] == PLACED
    return document, one


def happened(one: dict[str, Any]) -> dict[tuple[str, str], int]:
    [version] = one["versions"]
    return {(it["what"], it["path"]): it["count"] for it in version["happened"]}


def test_a_safe_change_is_fine_and_shows_why(run: Run, folder: Path) -> None:
    """Every stored record was decoded; the new field's default is what each gets."""
    write_type(folder, SAFE)
    result = run(
        "--history", "now", "--projection", "folds:paid", "--code", "folds:paid", "--format", "json"
    )
    assert result.exit_code == 0, result.output
    document, one = reviewed(result)
    assert document["fine"]
    assert document["history"]["records"] == CARD + CHEQUES
    assert [it["kind"] for it in one["changes"]] == ["field_added"]
    assert happened(one) == {("defaulted", "$.gift_wrap"): CARD + CHEQUES}
    assert one["deployment"]["order"] == "either"
    assert one["deployment"]["rollback_safe"]
    assert all(one["modes"].values())
    [fold] = document["folds"]
    assert (fold["projection"], fold["equal"]) == ("paid", True)
    [reader] = (it for it in one["readers"] if it["owner"] == "paid")
    assert reader["reads"][0]["fields"] == ["by"]


def test_what_every_registry_takes_and_the_log_does_not(run: Run, folder: Path) -> None:
    """A symbol that the default covers: compatible in every mode, and seven orders change."""
    write_type(folder, CHANGING)
    result = run("--history", "now", "--projection", "folds:paid", "--format", "json")
    assert result.exit_code == 1, result.output
    document, one = reviewed(result)
    assert one["modes"]["BACKWARD_TRANSITIVE"]
    [version] = one["versions"]
    assert (version["compatible"], version["stored"], version["failed"]) == (True, 47, 0)
    assert happened(one) == {
        ("enum_substituted", "$.by"): CHEQUES,
        ("value_changed", "$.by"): CHEQUES,
    }
    changed = next(it for it in version["happened"] if it["what"] == "value_changed")
    assert (changed["today"], changed["candidate"]) == ("CHEQUE", "CARD")
    assert [it["rule"] for it in one["against"]] == ["value_changed"]
    [need] = one["upcasters"]
    assert need["need"] == "needed"
    [fold] = document["folds"]
    assert not fold["equal"]
    assert fold["first"]["record"] == changed["first"]
    assert {it["path"]: it.get("candidate") for it in fold["differences"]} == {
        "CARD": 47,
        "CHEQUE": None,
    }


def test_what_registries_reject_and_every_record_decodes(run: Run, folder: Path) -> None:
    """A branch that no stored order uses; it is waived with the evidence, and needs one step."""
    write_type(folder, NARROWING)
    result = run("--history", "now", "--format", "json")
    assert result.exit_code == 1, result.output
    _, one = reviewed(result)
    assert not any(one["modes"][mode] for mode in ("BACKWARD", "FULL", "FULL_TRANSITIVE"))
    [version] = one["versions"]
    assert (version["stored"], version["decoded"], version["failed"]) == (47, 47, 0)
    assert happened(one) == {}
    assert {it["rule"] for it in one["against"]} == {"no_union_branch", "start_up"}
    assert one["upcasters"][0]["need"] == "to say so"
    waiver = (
        f'\n[subject."{PLACED}"]\n[[subject."{PLACED}".waivers]]\nrule = "no_union_branch"\n'
        'reason = "no order has a number there: reviewed"\nowner = "orders"\nexpires = 2999-01-01\n'
    )
    with (folder / "subjects.toml").open("a") as file:
        file.write(waiver)
    (folder / "upcasters.py").write_text(
        "from streams.schemas import Upcasters\nupcasters = Upcasters()\n"
        f"@upcasters.step({PLACED!r}, from_version=1)\n"
        "def same(fields):\n    return fields\n"
    )
    result = run("--history", "now", "--format", "json")
    assert result.exit_code == 0, result.output
    _, one = reviewed(result)
    assert one["against"][0]["waiver"]["owner"] == "orders"
    assert one["upcasters"][0]["need"] == "there is one"
    assert one["versions"][0]["decoded"] == 47


def test_a_fold_that_only_the_candidate_breaks_is_exit_1(run: Run, folder: Path) -> None:
    """Every record decodes and no value changes; the projection misses its field."""
    write_type(folder, placed(FIELDS[1]))
    result = run("--history", "now", "--projection", "folds:paid", "--format", "json")
    assert result.exit_code == 1, result.output
    document, one = reviewed(result)
    assert (one["against"], one["versions"][0]["decoded"]) == ([], CARD + CHEQUES)
    [fold] = document["folds"]
    assert fold["breaks"]
    assert "candidate: projection paid failed on" in fold["failed"]


def test_a_type_that_goes_leaves_records_and_readers(run: Run, folder: Path) -> None:
    """Both stand against it, and what reads it is folded all the same; a waiver lets it go."""
    write_type(folder, record("Sent", field("sku")))
    (folder / "order" / "Placed.avsc").unlink()
    asked = ("--history", "now", "--projection", "folds:paid", "--code", "folds:paid")
    result = run(*asked, "--format", "json")
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    one = next(it for it in document["types"] if it["type"] == PLACED)
    assert (one["state"], one["versions"][0]["stored"]) == ("gone", CARD + CHEQUES)
    [block] = one["against"]
    assert block["rule"] == "type_removed"
    assert f"47 records of it are stored, first {one['versions'][0]['first']}" in block["message"]
    assert "it is read by projection paid.apply" in block["message"]
    [fold] = document["folds"]
    assert fold["equal"]
    waiver = (
        f'\n[[subject."{PLACED}".waivers]]\nrule = "type_removed"\n'
        'reason = "the shop was sold"\nexpires = 2999-01-01\n'
    )
    with (folder / "subjects.toml").open("a") as file:
        file.write(waiver)
    assert run(*asked).exit_code == 0


@pytest.mark.parametrize("format_", ["text", "markdown", "html"])
def test_people_see_verdict_and_evidence_side_by_side(run: Run, folder: Path, format_: str) -> None:
    write_type(folder, CHANGING)
    said = run("--sample", "1000", "--format", format_).stdout
    for part in (PLACED, "7 read as another value", "CHEQUE → CARD"):
        assert part in said
    assert "not to be merged" in said.lower()
    assert "a sample" in run("--sample", "10", "--format", format_).output
    if format_ == "html":
        assert said.startswith("<!doctype html>")


def test_without_a_broker_the_schemas_alone_are_reviewed(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it says so; asked for the history, it says that no broker answers (exit 3)."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    write_type(folder, CHANGING)
    document, one = reviewed(run("--format", "json"))
    assert document["history"] is None
    assert "no Kafka answers at 127.0.0.1:1" in document["without_history"]
    assert document["fine"]
    assert one["versions"][0]["compatible"]
    assert "by the schemas alone" in run().output
    refused = run("--history", "now").exception
    assert isinstance(refused, BrokerError)
    assert refused.exit_code == 3


def test_what_cannot_be_reviewed_is_one_clear_error(
    run: Run, folder: Path, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base that is not there, an empty history, a renumbered id, no schema."""
    write_type(folder, SAFE)
    empty = Bench(kafka, f"test-{secrets.token_hex(6)}")
    monkeypatch.setenv("AGENTLOG_NAMESPACE", empty.namespace.name)
    refused = run("--history", "now").exception
    assert isinstance(refused, ConfigurationError)
    assert "nothing is stored in namespace" in str(refused)
    bad = CliRunner().invoke(cli, ["schemas", "review", "--base", "nowhere"]).exception
    assert "has no revision 'nowhere'" in str(bad)
    path = folder / "order" / "Placed.avsc"
    path.write_text(path.read_text().replace('"boolean"', '"bolean"'))
    assert "Placed.avsc" in str(run("--history", "now").exception)
    write_type(folder, SAFE)
    lock = folder / "lock.json"
    lock.write_text(lock.read_text().replace("1074790400", "1074790409"))
    assert "now has 1074790409" in str(run().exception)


@pytest.mark.parametrize("format_", ["text", "markdown", "html", "json"])
def test_a_promise_that_asks_less_is_seen(run: Run, folder: Path, format_: str) -> None:
    """Though no schema changed, and in every format; no record is read for that."""
    text = (folder / "subjects.toml").read_text()
    (folder / "subjects.toml").write_text(text.replace("BACKWARD_TRANSITIVE", "NONE"))
    result = run("--history", "now", "--format", format_)
    assert result.exit_code == 0, result.output
    if format_ == "json":
        document, one = reviewed(result)
        assert (document["history"], one["state"], one["mode_before"]) == (
            None,
            "promises",
            "BACKWARD_TRANSITIVE",
        )
        assert one["promises"][0]["is_looser"]
    else:
        assert "NONE: asks less" in result.stdout
        assert "no record is read otherwise than at the base" in result.output


def test_a_base_without_schemas_makes_every_type_new(run: Run, folder: Path) -> None:
    """As at the first pull request; the records that are stored already are read all the same."""
    git(folder.parent, "rm", "-r", "--quiet", "--cached", "schemas")
    git(folder.parent, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "0")
    git(folder.parent, "tag", "none")
    document, one = reviewed(run("--base", "none", "--history", "now", "--format", "json"))
    assert (document["is_first"], document["fine"], one["state"]) == (True, True, "new")
    assert one["versions"][0]["stored"] == CARD + CHEQUES
    assert "none has no schemas in " in run("--base", "none").stdout


def test_nothing_changed_is_fine(run: Run) -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (0, "nothing changed\n")
