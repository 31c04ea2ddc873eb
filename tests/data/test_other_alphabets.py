"""Alphabets beside proteins: nucleotides, symbols that a run file lists, and those of a plugin, from file to model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sedd
from sedd.config.alphabet import OwnSymbols
from sedd.config.run_file import dump, load_config
from sedd.config.sections import Data, Residues
from sedd.data import DNA, RNA, Alphabet, open_data, open_whole
from sedd.data.chosen import fixed_alphabet, residue_policy
from sedd.data.longest_match import longest_match
from sedd.data.prepare.options import PrepareOptions
from sedd.data.statistics import DataStatistics
from sedd.data.user import user_dataset
from sedd.errors import ConfigError, DataError, PluginError, SamplingError
from sedd.evaluation.mutations import wild_type
from sedd.plugins import registry as plugins
from sedd.plugins.contracts import Vocabulary
from sedd.plugins.registry import KINDS, Plugin, Registry
from sedd.sampling.templates import parse_template, read_templates
from tests.cli.commands import sedd_
from tests.conftest import TINY

CODONS = tuple(a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT")
SMILES = ("C", "c", "O", "N", "n", "1", "(", ")", "=", "#", "Cl", "Br", "[nH]", "-", ".", "@", "@@")
NOTES = ("do", "re", "mi", "fa")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[list[str], Any]]:
    """The sequences that are made of a file's content, and the tally."""

    def read(content: str, chosen: Any, *, name: str = "data.txt", **options: Any) -> tuple[list[str], Any]:
        file = tmp_path / name
        file.write_text(content)
        data = Data(alphabet=chosen, min_length=1, **options)
        alphabet = fixed_alphabet(data.alphabet)
        assert alphabet is not None
        store = open_whole(data, str(file), alphabet)
        return [alphabet.decode(store[i]) for i in range(len(store))], store.manifest["tally"]

    return read


# Nucleotides ---------------------------------------------------------------------------------------------------------


def test_ids_of_nucleotides_are_in_the_order_of_the_alphabet() -> None:
    assert DNA.encode("ACGT").tolist() == RNA.encode("ACGU").tolist() == [0, 1, 2, 3]
    assert (DNA.mask_id, DNA.decode([3, 4])) == (4, "T_")


def test_dna_is_read_in_either_case_and_u_as_t(read) -> None:
    found, tally = read(">a\nACGT\n>b\nacguACGU\n>c\nAC-G.T\n", "dna")
    assert found == ["ACGT", "ACGTACGT", "ACGT"]
    repaired = {kind: value[0] for kind, value in tally["repaired"].items()}
    assert repaired == {"lowercase": 1, "substituted": 1, "gaps": 1}
    assert read(">a\nacgtAC\n", "rna")[0] == ["ACGUAC"]


def test_ambiguity_codes_are_handled_as_residues_outside_the_alphabet(read) -> None:
    content = ">a\nACGTNNNRACG\n>b\nACG\n"
    assert read(content, "dna")[0] == ["ACG"]
    assert read(content, "dna", residues={"ambiguous": "split"})[0] == ["ACGT", "ACG", "ACG"]
    with pytest.raises(DataError) as caught:
        read(content, "dna", residues={"ambiguous": "error"})
    assert caught.value.line == 1


def test_substitutions_that_are_stated_replace_those_of_the_alphabet(read) -> None:
    assert read(">a\nACU\n>b\nACN\n", "dna", residues={"substitute": {"N": "A"}})[0] == ["ACA"]
    assert read(">a\nACU\n>b\nACG\n", "dna", residues={"substitute": {}})[0] == ["ACG"]
    with pytest.raises(DataError, match="ACGT"):
        read(">a\nACGT\n", "dna", residues={"substitute": {"N": "K"}})


def test_dna_read_as_proteins_and_proteins_read_as_dna_name_the_alphabet(read) -> None:
    dna = "".join(f">{i}\n{'ACGT' * 10}\n" for i in range(10))
    with pytest.raises(DataError, match=r"data\.alphabet=dna"):
        read(dna, "protein")
    assert len(read(dna, "dna")[0]) == 10
    proteins = "".join(f">{i}\nMKVLLAGIVALLAGCSSNAKIDQLSSDVQTLNAKVDQ\n" for i in range(10))
    for chosen in ("dna", "rna"):
        with pytest.raises(DataError, match=r"data\.alphabet=protein"):
            read(proteins, chosen)
    with pytest.warns(sedd.SeddWarning, match=r"data\.alphabet=protein"):
        read(proteins + dna[: len(dna) // 3], "dna", name="mixed.fasta")


def test_residues_of_proteins_keep_their_policy() -> None:
    assert residue_policy("protein", Residues()) == residue_policy("esm", Residues()) == Residues()
    assert residue_policy("dna", Residues()).substitute == {"U": "T"}
    assert residue_policy(OwnSymbols(letters="UO"), Residues()).substitute == {}


# Listed symbols ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "content", "options", "expected"),
    [
        ({"letters": "ACGT-"}, ">a\nAC-GT\n>b\nac.gt\n", {}, ["AC-GT", "ACGT"]),
        ({"letters": "acgtN"}, ">a\nacgN\n>b\nACg\n>c\nacxtt\n", {"residues": {"ambiguous": "split"}},
         ["acgN", "g", "ac", "tt"]),
        ({"letters": "01"}, "0110\n1 1\n\n", {"format": "lines"}, ["0110", "11"]),
        ({"letters": "AB*"}, ">a\nAB*\n", {}, ["AB*"]),
        ({"letters": "HP/"}, ">a\nHP/PH\n>b\nHP:P\n", {}, ["HP/PH"]),
        ({"symbols": CODONS}, ">a\nAAAACG\nTTT\n>b\naaaa\n>c\nAAAAN\n", {}, ["AAAACGTTT"]),
        ({"symbols": CODONS}, ">a\naaacgt\n>c\nAAANNNCCC\n", {"residues": {"ambiguous": "split"}},
         ["AAACGT", "AAA", "CCC"]),
        ({"symbols": SMILES}, "CC(=O)Cl\n[nH]1ccc1\nC-[Br]\n", {"format": "lines"}, ["CC(=O)Cl", "[nH]1ccc1"]),
        ({"symbols": SMILES}, "smiles,y\nCC(=O)Cl,1\n[nH]1cBr,2\n", {"column": "smiles"}, ["CC(=O)Cl", "[nH]1cBr"]),
        ({"symbols": SMILES}, "smiles\nCC(=O)Cl\n", {"column": "smiles"}, ["CC(=O)Cl"]),
        ({"symbols": NOTES, "separator": " "}, "do re mi\n fa  do\n\n", {}, ["do re mi", "fa do"]),
        ({"symbols": NOTES, "separator": " "}, ">a\ndo re\nmi\n>b\nfa\n", {}, ["do re mi", "fa"]),
        ({"symbols": NOTES, "separator": ","}, "do,re\nmi, fa ,do\n", {}, ["do,re", "mi,fa,do"]),
        ({"symbols": NOTES, "separator": " "}, "do sol re re\n", {"residues": {"ambiguous": "split"}},
         ["do", "re re"]),
        ({"symbols": NOTES, "separator": " "}, "id\ttune\na\tdo re\nb\tmi\n", {"column": "tune"}, ["do re", "mi"]),
        ({"symbols": ["é", "ü"], "separator": " "}, "é ü é\n", {}, ["é ü é"]),
    ],
)  # fmt: skip
def test_listed_symbols_are_read_from_files(read, chosen, content, options, expected) -> None:
    assert read(content, chosen, **options)[0] == expected


def test_lengths_are_in_symbols(read) -> None:
    found, tally = read("AAAACG\nTTT\n", {"symbols": CODONS}, format="lines")
    assert (found, tally["residues"]) == (["AAAACG", "TTT"], 3)
    with pytest.raises(DataError):
        open_data(Data(train="x", alphabet={"symbols": CODONS}, min_length=3), seed=0)


@given(st.sets(st.text("ab(+", min_size=1, max_size=4), min_size=2), st.text("ab(+", max_size=12))
def test_the_pattern_of_symbols_matches_the_longest_one_everywhere(symbols: set[str], text: str) -> None:
    pattern = longest_match(symbols)
    for at in range(len(text)):
        fitting = [symbol for symbol in symbols if text.startswith(symbol, at)]
        found = pattern.match(text, at)
        assert (found and found.group()) == max(fitting, key=len, default=None)


def test_the_longest_symbol_that_fits_is_read() -> None:
    alphabet = Alphabet("own", ("C", "l", "Cl", "@", "@@"))
    assert alphabet.encode("CClC@@@").tolist() == [0, 2, 0, 4, 3]
    assert alphabet.decode([0, 1]) == "Cl"  # which is read as one symbol: separators tell them apart
    with pytest.raises(DataError, match="'x' at position 2"):
        alphabet.encode(b"Clx")


@pytest.mark.parametrize(
    "wrong",
    [{}, {"letters": "A"}, {"letters": "AAC"}, {"letters": "A C"}, {"letters": "Aé"}, {"letters": "A>"},
     {"letters": "AC", "symbols": ["A", "C"]}, {"letters": "AC", "separator": " "}, {"symbols": ["A", "A"]},
     {"symbols": ["A", ""]}, {"symbols": ["a,b", "c"], "separator": ","}, {"symbols": ["a b", "c"], "separator": " "},
     {"symbols": ["a", "b"], "separator": "\t"}, {"symbols": ["a", "b" * 101]},
     "proteins", 3, None, {"letters": 12}, {"letter": "AC"},
     {"symbols": [False, "A"]}],
)  # fmt: skip
def test_what_is_no_alphabet_is_refused_with_its_key(wrong) -> None:
    with pytest.raises(ConfigError) as caught:
        sedd.Config(data={"alphabet": wrong})
    assert all(key.startswith("data.alphabet") for key in caught.value.keys)


def test_a_listed_alphabet_survives_a_run_file_and_is_replaced_as_a_unit() -> None:
    listed = {"symbols": list(CODONS), "separator": " "}
    config = sedd.Config(data={"alphabet": listed})
    assert load_config(json.loads(json.dumps(config.to_dict()))) == config
    assert "AAC" in dump(config)
    assert config.replace(data={"alphabet": "dna"}).data.alphabet == "dna"
    assert load_config({"data": {"alphabet": listed}}, "data.alphabet={letters: ACGT}").data.alphabet.letters == "ACGT"


def test_a_manifest_has_the_name_of_a_built_in_alphabet_and_the_symbols_of_any_other() -> None:
    assert PrepareOptions().to_dict()["alphabet"] == "protein"
    assert PrepareOptions(alphabet="dna").to_dict()["alphabet"] == "dna"
    described = PrepareOptions(alphabet=OwnSymbols(letters="AB")).to_dict()["alphabet"]
    assert Alphabet.from_dict(described) == fixed_alphabet(OwnSymbols(letters="AB"))


def test_a_store_of_other_symbols_is_refused(tmp_path) -> None:
    (tmp_path / "a.fasta").write_text("".join(f">{i}\nABBA{'AB'[i % 2] * i}\n" for i in range(1, 9)))
    sedd_("data", "prepare", tmp_path / "a.fasta", tmp_path / "store", "alphabet={letters: AB}", "holdout=0.3")
    open_data(Data(train=str(tmp_path / "store"), alphabet={"letters": "AB"}, holdout=0.3), seed=0)
    with pytest.raises(DataError, match="alphabet"):
        open_data(Data(train=str(tmp_path / "store"), alphabet={"letters": "ABC"}, holdout=0.3), seed=0)


def test_sequences_of_ones_own_have_the_alphabet_of_the_configuration() -> None:
    dataset = user_dataset(["do re", "mi", "fa do"], Data(alphabet={"symbols": NOTES, "separator": " "}), seed=0)
    residues = int(dataset.token_counts.sum()) + sum(len(dataset.valid[i]) for i in range(len(dataset.valid)))
    assert (dataset.alphabet.n, residues) == (4, 5)
    assert user_dataset(["ACGT", "GG"], Data(alphabet="dna"), seed=0).alphabet == DNA


def test_nucleotides_of_ones_own_are_refused_as_proteins() -> None:
    texts = ["ACGT" * 8, "GGAT" * 9, "AATT" * 7]
    with pytest.raises(DataError, match=r"data\.alphabet=dna"):
        user_dataset(texts, Data(), seed=0)
    assert user_dataset(texts, Data(residues={"nucleotides": "keep"}), seed=0).alphabet.name == "protein"
    assert user_dataset([*texts, "MKVLE"], Data(), seed=0).alphabet.name == "protein"


def test_a_forecast_without_data_takes_symbols_to_be_equally_frequent() -> None:
    usual = DataStatistics.usual(sedd.Config(data={"alphabet": {"letters": "HP"}, "train": "x"}))
    assert usual.frequencies.tolist() == [0.5, 0.5]
    assert len(DataStatistics.usual(sedd.Config(data={"alphabet": "dna", "train": "x"})).frequencies) == 4


# Templates and models ------------------------------------------------------------------------------------------------


def test_templates_of_several_characters_have_marks_for_symbols(tmp_path) -> None:
    codons = Alphabet("own", CODONS)
    assert parse_template("AAA_ACG<mask>", codons, "t").tolist() == [0, 64, CODONS.index("ACG"), 64]
    with pytest.raises(DataError):
        parse_template("AAA_AC", codons, "t")
    with pytest.raises(SamplingError):
        parse_template("AAA", codons, "t")
    (tmp_path / "lines").write_text("AAA_\nACG__\n")
    (tmp_path / "fasta").write_text(">a\nAAA_\nACG\n")
    assert [text for _, text in read_templates(tmp_path / "lines", codons)] == ["AAA_", "ACG__"]
    assert read_templates(tmp_path / "fasta", codons) == [("a", "AAA_ACG")]
    notes = Alphabet("own", NOTES, ",")
    assert parse_template("do,_ , re", notes, "t").tolist() == [0, 4, 1]


def _trained(tmp_path: Path, content: str, *options: str) -> Path:
    (tmp_path / "data.txt").write_text(content)
    data = (f"data.train={tmp_path / 'data.txt'}", "data.holdout=0.3", *options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sedd.SeddWarning)  # there are few held-out sequences
        sedd_("train", "quickstart", *TINY, *data, "--run", tmp_path / "run", "--samples", "1")
    return tmp_path / "run"


def _rows(symbols: Sequence[str], separator: str = "") -> list[str]:
    draw = np.random.default_rng(0)
    return [separator.join(draw.choice(list(symbols), 8)) for _ in range(200)]


@pytest.mark.parametrize(
    ("alphabet", "symbols", "separator", "template"),
    [
        ("dna", "ACGT", "", "AC__GT??"),
        (f"{{symbols: [{', '.join(CODONS)}]}}", CODONS, "", "AAA__ACG"),
        ("{symbols: [do, re, mi, fa], separator: ' '}", NOTES, " ", "do _ re ? _"),
    ],
    ids=["dna", "codons", "notes"],
)
def test_a_model_trains_samples_resumes_a_file_evaluates_fills_in_and_is_exported(
    tmp_path, alphabet, symbols, separator, template
) -> None:
    content = "".join(f">{i}\n{row}\n" for i, row in enumerate(_rows(list(symbols), separator)))
    run, out = _trained(tmp_path, content, f"data.alphabet={alphabet}"), tmp_path / "out.txt"
    sedd_("sample", run, "-n", "3", "--out", out, "--device", "cpu")
    complete = out.read_text()
    assert complete.count(" length=8 ") == 3
    out.write_text(complete[:-3])
    sedd_("sample", run, "-n", "3", "--out", out, "--resume", "--device", "cpu")
    assert out.read_text() == complete
    found = json.loads(sedd_("evaluate", run, out, "--device", "cpu", "--json", "--no-controls"))
    assert (found["sequences"], found["residues"]) == (3, 24)
    judged = json.loads(sedd_("quality", run, "--samples", "12", "--device", "cpu", "--json"))
    assert "hydrophobic" not in {row["name"] for row in judged["rows"]}
    sedd_("export", run, tmp_path / "exported")
    model = sedd.load(tmp_path / "exported", device="cpu")
    assert model.alphabet.symbols == tuple(symbols)
    (filled,) = model.infill([template])
    fixed = parse_template(template, model.alphabet, "t")
    ids = model.alphabet.encode(filled)
    assert len(ids) == len(fixed)
    assert all(a == b for a, b in zip(ids.tolist(), fixed.tolist(), strict=True) if b != model.alphabet.mask_id)


def test_variants_of_codons_are_refused() -> None:
    with pytest.raises(DataError, match="variants"):
        wild_type("AAAACG", Alphabet("own", CODONS), 100)


def test_variants_of_dna_are_scored(tmp_path) -> None:
    content = "".join(f">{i}\n{row}\n" for i, row in enumerate(_rows("ACGT")))
    run = _trained(tmp_path, content, "data.alphabet=dna")
    (tmp_path / "wild.fasta").write_text(">w\nACGTAC\n")
    rows = sedd_("score-variants", run, tmp_path / "wild.fasta", "--all-singles", "--no-bound", "--device", "cpu")
    assert len(rows.splitlines()) == 1 + 6 * 3
    scored = sedd.load(run, device="cpu").score_variants("ACGTAC", ["A1G"], bound=False)
    assert scored[0].mutation == "A1G"


def test_samples_in_a_file_are_judged_in_the_alphabet_that_is_stated(tmp_path) -> None:
    for name in ("samples", "natural"):
        (tmp_path / f"{name}.fasta").write_text("".join(f">{i}\n{row * 3}\n" for i, row in enumerate(_rows("ACGT"))))
    files = (tmp_path / "samples.fasta", "--reference", tmp_path / "natural.fasta")
    judged = json.loads(sedd_("quality", files[0], "data.alphabet=dna", *files[1:], "--json"))
    assert judged["samples"] == 100
    assert "hydrophobic" not in {row["name"] for row in judged["rows"]}


# Plugins -------------------------------------------------------------------------------------------------------------


class Peano(Vocabulary):
    """Two symbols with a separator."""

    alphabet: Literal["peano"] = "peano"
    separator: ClassVar[str] = " "
    names: ClassVar[tuple[str, ...]] = ("zero", "s")

    def symbols(self) -> Sequence[str]:
        return self.names


def _install(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = next(kind for kind in KINDS if kind.base is Vocabulary)
    found = plugins.discover(())
    with_peano = Registry((*found.plugins, Plugin(kind, Peano, "peano 1.0")))
    for module in ("sedd.config.alphabet", "sedd.data.chosen"):
        monkeypatch.setattr(f"{module}.registry", lambda: with_peano)
    monkeypatch.setattr("sedd.data.chosen.source_of", lambda cls: "peano 1.0")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Peano`, installed."""
    _install(monkeypatch)


def test_the_alphabet_of_a_plugin_is_chosen_by_its_name(installed, read) -> None:
    assert read("s s zero\ns two\n", "peano")[0] == ["s s zero"]
    assert sedd.Config(data={"alphabet": "peano"}).data.alphabet == "peano"


def test_a_store_notices_that_a_plugin_has_other_symbols_now(installed, monkeypatch) -> None:
    before = PrepareOptions(alphabet="peano").to_dict()
    monkeypatch.setattr(Peano, "names", ("zero", "s", "p"))
    assert PrepareOptions(alphabet="peano").to_dict() != before


@pytest.mark.parametrize("names", [("zero",), ("zero", "zero"), ("a b", "c"), (1, 2), None])
def test_a_plugin_with_symbols_that_cannot_be_read_is_named(installed, monkeypatch, names) -> None:
    monkeypatch.setattr(Peano, "names", names)
    with pytest.raises(PluginError, match=r"Peano of peano 1\.0"):
        fixed_alphabet("peano")


def test_a_plugin_whose_substitutions_fail_is_named(installed, monkeypatch) -> None:
    monkeypatch.setattr(Peano, "substitutions", lambda self: 1 / 0)
    with pytest.raises(PluginError, match=r"Peano of peano 1\.0.*ZeroDivisionError"):
        residue_policy("peano", Residues())


def test_an_alphabet_whose_plugin_is_gone_is_named() -> None:
    with pytest.raises(PluginError, match="peano"):
        fixed_alphabet("peano")


def test_a_model_whose_plugin_is_gone_is_loaded_with_its_symbols(tmp_path) -> None:
    content = "".join(f"{row}\n" for row in _rows(Peano.names, " "))
    with pytest.MonkeyPatch.context() as patch:
        _install(patch)
        run = _trained(tmp_path, content, "data.alphabet=peano")
    model = sedd.load(run, device="cpu")
    assert model.config.data.alphabet == OwnSymbols(symbols=Peano.names, separator=" ")
    assert set(model.sample(1, length=5)[0].split()) <= set(Peano.names)
    (tmp_path / "other.txt").write_text("s s zero\ns zero\n")
    found = json.loads(sedd_("evaluate", run, tmp_path / "other.txt", "--device", "cpu", "--json", "--no-controls"))
    assert found["residues"] == 5
