from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sedd.config.sections import Residues
from sedd.data.alphabet import ESM, PROTEIN, Alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import Cleaner, TextCleaner
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.records import Record
from sedd.data.prepare.tally import Tally
from sedd.errors import DataError

DIRTY = Path(__file__).parents[4] / "shared/data/dirty"
COMMENT = ";thisisanold-stylecomment,notresidues"


def clean(sequence: str, alphabet: Alphabet = PROTEIN, min_length: int = 1, **policy: Any) -> tuple[list[str], Tally]:
    cleaner = Cleaner(alphabet, Residues(**policy), min_length=min_length, source="x.fasta")
    pieces = cleaner(Record("id", sequence.encode(), 7))
    return [piece.decode() for piece in pieces], cleaner.tally


@pytest.mark.parametrize(
    ("sequence", "policy", "pieces", "repaired", "dropped"),
    [
        ("ACD", {}, ["ACD"], set(), set()),
        ("aCd", {}, ["ACD"], {"lowercase"}, set()),
        ("aCd", {"lowercase": "drop"}, [], set(), {"lowercase"}),
        ("ACD**", {}, ["ACD"], {"stop"}, set()),
        ("ACD*", {"stop": "drop"}, [], set(), {"stop"}),
        ("AC*D", {}, [], set(), {"stop"}),
        ("AC*D*", {"ambiguous": "split"}, [], set(), {"stop"}),
        ("A-C.D", {}, ["ACD"], {"gaps"}, set()),
        ("A-C.D", {"gaps": "drop"}, [], set(), {"gaps"}),
        ("AUOu", {}, ["ACKC"], {"lowercase", "substituted"}, set()),
        ("AU", {"substitute": {}}, [], set(), {"ambiguous"}),
        ("AXJ", {"substitute": {"X": "G", "J": "L"}}, ["AGL"], {"substituted"}, set()),
        ("AXC", {}, [], set(), {"ambiguous"}),
        ("XAXXCDX", {"ambiguous": "split"}, ["A", "CD"], {"split"}, set()),
        ("XX", {"ambiguous": "split"}, [], set(), {"empty"}),
        ("A1C", {}, [], set(), {"illegal"}),
        ("A1C", {"ambiguous": "split"}, [], set(), {"illegal"}),
        ("A@X", {"ambiguous": "split"}, [], set(), {"illegal"}),
        ("", {}, [], set(), {"empty"}),
        ("*", {}, [], set(), {"empty"}),
        ("---", {}, [], set(), {"empty"}),
    ],
)
def test_each_kind_of_dirt_leads_where_the_policy_says(
    sequence: str, policy: dict[str, Any], pieces: list[str], repaired: set[str], dropped: set[str]
) -> None:
    found, tally = clean(sequence, **policy)
    assert found == pieces
    assert set(tally.repaired) == repaired
    assert set(tally.dropped) == dropped
    assert (tally.read, tally.kept + tally.lost, tally.sequences) == (1, 1, len(pieces))
    assert all(kind.first == "x.fasta:7 id" for kind in (tally.repaired | tally.dropped).values())


def test_min_length_applies_after_cleaning() -> None:
    assert clean("AC-D", min_length=3)[0] == ["ACD"]
    assert set(clean("AC-*", min_length=3)[1].dropped) == {"short"}
    pieces, tally = clean("ACXACDXA", min_length=3, ambiguous="split")
    assert (pieces, set(tally.repaired)) == (["ACD"], {"split"})
    assert set(clean("ACXA", min_length=3, ambiguous="split")[1].dropped) == {"short"}


@pytest.mark.parametrize(
    ("sequence", "policy"),
    [("aCd", "lowercase"), ("ACD*", "stop"), ("A-C", "gaps"), ("AXC", "ambiguous"), ("A1C", "ambiguous")],
)
def test_the_policy_error_stops_with_file_line_and_a_way_out(sequence: str, policy: str) -> None:
    with pytest.raises(DataError) as caught:
        clean(sequence, PROTEIN, 1, **{policy: "error"})
    error = caught.value
    assert (error.file, error.line, error.record) == (Path("x.fasta"), 7, "id")
    assert f"data.residues.{policy}=" in str(error)


def test_esm_knows_the_ambiguous_letters_but_not_j() -> None:
    assert clean("AXBUZO", ESM)[0] == ["AXBUZO"]
    assert set(clean("AJ", ESM)[1].dropped) == {"ambiguous"}
    assert clean("A-C.", ESM)[0] == ["AC"]
    assert clean("AJ", ESM, substitute={"J": "L"})[0] == ["AL"]


@pytest.mark.parametrize("substitute", [{"U": "X"}, {"UU": "C"}, {"u": "C"}, {"X": ""}])
def test_impossible_substitutions_are_refused(substitute: dict[str, str]) -> None:
    with pytest.raises((DataError, ValidationError)):
        clean("ACD", substitute=substitute)


def test_nucleotides_and_missing_ids_are_noted_and_kept() -> None:
    assert set(clean("ACGT" * 10)[1].noted) == {"nucleotides"}
    assert not clean("ACGTL" * 10)[1].noted
    cleaner = Cleaner(PROTEIN, Residues(), min_length=1, source="x")
    assert cleaner(Record("", b"ACD", 3)) == [b"ACD"]
    assert cleaner.tally.noted["unnamed"].first == "x:3"


def test_text_chunks_are_only_measured() -> None:
    cleaner = TextCleaner(min_length=3, source="x")
    assert cleaner(Record("chunk_0", "abc", 1)) == ["abc"]
    assert cleaner(Record("chunk_1", "ab", 1)) == []
    assert (cleaner.tally.read, cleaner.tally.kept, cleaner.tally.lost) == (2, 1, 1)


def test_a_tally_survives_json_and_can_be_read() -> None:
    tally = clean("aCD")[1]
    assert (tally.read, tally.kept, tally.lost, tally.residues) == (1, 1, 0, 3)
    assert clean("aCX")[1].lost == 1
    assert Tally.from_dict(json.loads(json.dumps(tally.to_dict()))) == tally
    first, second = str(tally).splitlines()
    assert first == "1 read, 1 kept, 0 dropped; 3 residues"
    assert second.endswith("(first: x.fasta:7 id)")


def facts() -> list[tuple[Record, dict[str, Any]]]:
    if not DIRTY.exists():
        pytest.skip(f"{DIRTY} is not there")
    lines = (DIRTY / "dirty_manifest.jsonl").read_text().splitlines()
    records = list(read_fasta(ByteStream(DIRTY / "dirty.fasta")))
    return list(zip(records, map(json.loads, lines), strict=True))


def test_every_record_of_the_dirty_file_is_read_as_its_facts_say() -> None:
    both, content = facts(), (DIRTY / "dirty.fasta").read_bytes()
    for record, fact in both:
        assert isinstance(record.sequence, bytes)
        assert record.name.isascii() is (fact["id"].isascii()) or "\\x" in record.name
        if fact["id"].isascii():
            assert record.name == fact["id"]
        assert content[fact["offset"] : fact["offset"] + 1] == b">"
        assert content.count(b"\n", 0, fact["offset"]) + 1 == record.line
        if fact["residues"] is None:
            assert len(record.sequence) == fact["n_residues"]
        else:
            assert record.sequence.decode() == fact["residues"].removeprefix(COMMENT)


def expected(residues: str, alphabet: Alphabet, policy: Residues, min_length: int) -> list[str]:
    """The policy once more, letter by letter, as the documentation states it."""
    if policy.lowercase == "drop" and residues != residues.upper():
        return []
    residues = residues.upper()
    if "*" in residues and (policy.stop == "drop" or "*" in residues.rstrip("*")):
        return []
    residues = residues.rstrip("*")
    if policy.gaps == "drop" and re.search("[-.]", residues):
        return []
    residues = re.sub("[-.]", "", residues)
    known = alphabet.letters.decode()
    residues = "".join(c if c in known else policy.substitute.get(c, c) for c in residues)
    foreign = {c for c in residues if c not in known}
    if any(not "A" <= c <= "Z" for c in foreign) or (foreign and policy.ambiguous == "drop"):
        return []
    return [piece for piece in re.split(f"[^{known}]+", residues) if len(piece) >= max(1, min_length)]


SUBSTITUTES: list[dict[str, Any]] = [{}, {"substitute": {}}]
POLICIES = [
    Residues(lowercase=lowercase, stop=stop, gaps=gaps, ambiguous=ambiguous, **substitute)
    for lowercase, stop, gaps, ambiguous, substitute in itertools.product(
        ("upper", "drop"), ("strip", "drop"), ("remove", "drop"), ("drop", "split"), SUBSTITUTES
    )
]


@pytest.mark.parametrize("alphabet", [PROTEIN, ESM], ids=lambda alphabet: alphabet.name)
@pytest.mark.parametrize("min_length", [1, 30])
def test_every_policy_accounts_for_every_record_of_the_dirty_file(alphabet: Alphabet, min_length: int) -> None:
    both = facts()
    for policy in POLICIES:
        cleaner = Cleaner(alphabet, policy, min_length=min_length, source="dirty.fasta")
        kept = sequences = 0
        for record, _ in both:
            assert isinstance(record.sequence, bytes)
            wanted = expected(record.sequence.decode("latin-1"), alphabet, policy, min_length)
            assert [piece.decode() for piece in cleaner(record)] == wanted, (record.name, policy)
            kept, sequences = kept + bool(wanted), sequences + len(wanted)
        tally = cleaner.tally
        assert (tally.read, tally.kept, tally.sequences) == (len(both), kept, sequences)
        assert tally.read == tally.kept + tally.lost


def test_the_default_policy_counts_what_the_facts_count() -> None:
    both = facts()
    cleaner = Cleaner(PROTEIN, Residues(), min_length=1, source="dirty.fasta")
    for record, _ in both:
        cleaner(record)
    features = Counter(feature for _, fact in both for feature in fact["feat"])
    repaired = {name: kind.records for name, kind in cleaner.tally.repaired.items()}
    assert repaired["carriage_returns"] == features["crlf"]
    assert repaired["blank_lines"] == features["blank_inside"]
    assert repaired["comments"] == features["semicolon_comment"] == 1
    assert cleaner.tally.dropped["empty"].records == features["empty"] + features["empty_stop"]
    assert cleaner.tally.noted["unnamed"].records == features["no_id"]
