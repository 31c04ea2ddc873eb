from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sedd.config.sections import Residues
from sedd.data import TokenStore
from sedd.data.prepare import preparing, readers
from sedd.data.prepare.options import PrepareOptions, differences
from sedd.data.prepare.preparing import Prepared, prepare
from sedd.data.prepare.tally import Kind, Tally
from sedd.errors import DataError
from tests.forked import run_forked

DATA = Path(__file__).parents[4] / "shared/data"
EXTRA = DATA / "dirty/extra"


def write_fasta(path: Path, count: int, seed: int = 0) -> Path:
    rng = random.Random(seed)
    lines = []
    for i in range(count):
        sequence = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(1, 90)))
        dirt = rng.random()
        sequence = sequence.lower() if dirt < 0.1 else f"{sequence}X" if dirt < 0.2 else sequence
        glue = "" if rng.random() < 0.05 else "\n"
        lines.append(f">s{i}\n{sequence}{glue}")
    path.write_text("".join(lines))
    return path


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def sequences(store: TokenStore | None) -> list[str]:
    assert store is not None
    return [store.alphabet.decode(store[i]) for i in range(len(store))]


def prepared(tmp_path: Path, content: str | bytes, **options: object) -> Prepared:
    path = tmp_path / "in.fasta"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return prepare(path, tmp_path / "out", options=PrepareOptions(**options))  # type: ignore[arg-type]


def test_sequences_are_split_and_keep_the_order_of_the_file(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 2000)
    result = prepare(source, tmp_path / "out", options=PrepareOptions(holdout=0.1))
    assert result.valid is not None
    assert 0.06 < len(result.valid) / (len(result.train) + len(result.valid)) < 0.14
    whole = prepare(source, tmp_path / "whole", options=PrepareOptions(holdout=0.0))
    assert whole.valid is None
    train, valid, everything = sequences(result.train), sequences(result.valid), sequences(whole.train)
    held = set(valid)
    assert not held & set(train)
    assert [s for s in everything if s not in held] == train
    assert [s for s in everything if s in held] == valid
    assert result.tally.sequences == len(everything)
    assert result.tally.read == 2000
    for part in ("train", "valid"):
        TokenStore.open(tmp_path / "out" / part, verify=True)


def test_the_split_does_not_depend_on_order_or_on_the_rest_of_the_file(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 500)
    records = [">" + part for part in source.read_text().replace("\n>", ">").split(">") if part]
    random.Random(1).shuffle(records)
    (tmp_path / "less.fasta").write_text("\n".join(records[:250]))
    options = PrepareOptions(holdout=0.2)
    whole = prepare(source, tmp_path / "a", options=options)
    less = prepare(tmp_path / "less.fasta", tmp_path / "b", options=options)
    assert set(sequences(less.valid)) <= set(sequences(whole.valid))
    assert set(sequences(less.train)) <= set(sequences(whole.train))


def test_duplicates_are_kept_on_one_side(tmp_path: Path) -> None:
    result = prepared(tmp_path, ">a\nACD\n>b\nWYW\n>c\nACD\n>d\nacd*\n")
    assert sorted(map(len, (result.train, result.valid or ()))) == [1, 3]


def test_pieces_of_one_sequence_stay_on_one_side(tmp_path: Path) -> None:
    names = [a + b for a in "ACDEFGH" for b in "KLMN"]
    lines = "".join(f">{name}\n{name}PPX{name}QQ\n" for name in names)
    result = prepared(tmp_path, lines, residues=Residues(ambiguous="split"), holdout=0.3)
    train, valid = ({frozenset(piece.strip("PQ")) for piece in sequences(s)} for s in (result.train, result.valid))
    assert train
    assert valid
    assert not train & valid


@pytest.mark.parametrize("holdout", [1e-9, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_tiny_file_has_something_on_both_sides(tmp_path: Path, holdout: float, count: int) -> None:
    content = "".join(f">{i}\n{'ACDEFGHIKL'[i] * 5}\n" for i in range(count))
    result = prepared(tmp_path, content, holdout=holdout)
    assert result.valid is not None
    assert len(result.train) + len(result.valid) == count
    assert result.tally.read == count
    if holdout != 0.5:
        assert min(len(result.train), len(result.valid)) == 1


@pytest.mark.parametrize("content", [">a\nACD\n", ">a\nACD\n>b\nACD\n"])
def test_one_distinct_sequence_cannot_be_split(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, content)
    assert caught.value.file == tmp_path / "in.fasta"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]
    assert len(prepared(tmp_path, content, holdout=0.0).train)


@pytest.mark.parametrize(("content", "line"), [(b">a\nACD\nA\0C\n", 3), (b">a\nXX\n", None)])
def test_an_error_in_the_source_leaves_nothing_behind(tmp_path: Path, content: bytes, line: int | None) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, content)
    assert (caught.value.file, caught.value.line) == (tmp_path / "in.fasta", line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]


def test_if_every_record_was_dropped_the_error_has_the_tally(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, ">a\nXX\n")
    assert str(Tally(read=1, dropped={"ambiguous": Kind(1, "in.fasta:1 a", "X")})) in str(caught.value)


def test_a_complete_store_is_returned_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fasta(tmp_path / "in.fasta", 50)
    prepare(source, tmp_path / "out", options=PrepareOptions())
    before = contents(tmp_path / "out")
    monkeypatch.setattr(preparing, "_Preparation", None)
    prepare(source, tmp_path / "out", options=PrepareOptions())
    source.touch()  # another time of change, the same content
    prepare(source, tmp_path / "out", options=PrepareOptions())
    assert contents(tmp_path / "out") == before


def test_a_store_made_otherwise_is_refused_with_the_differences(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 50)
    prepare(source, tmp_path / "out", options=PrepareOptions())
    other = PrepareOptions(min_length=5, residues=Residues(stop="drop"))
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "out", options=other)
    recorded = json.loads((tmp_path / "out/train/manifest.json").read_text())["options"]
    lines = differences(recorded, other.to_dict())
    assert [line.partition(":")[0] for line in lines] == ["min_length", "residues.stop"]
    assert str(caught.value).splitlines()[1:] == [f"  {line}" for line in lines]
    before = contents(tmp_path / "out")
    write_fasta(source, 51)
    with pytest.raises(DataError):
        prepare(source, tmp_path / "out", options=PrepareOptions())
    assert contents(tmp_path / "out") == before


def test_what_is_no_store_is_never_overwritten(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "out", options=PrepareOptions())
    assert caught.value.file == tmp_path / "out"
    (tmp_path / "out/thesis.tex").unlink()
    assert len(prepare(source, tmp_path / "out", options=PrepareOptions()).train)  # an empty directory is fine
    for path, out in ((source, source), (tmp_path / "missing", tmp_path / "out2")):
        with pytest.raises(DataError) as caught:
            prepare(path, out, options=PrepareOptions())
        assert caught.value.file == path


class Interrupted(BaseException):
    pass


def interrupt(done: int, total: int, count: int) -> None:
    if count > 60:
        raise Interrupted


def test_an_interrupted_preparation_leaves_nothing_and_the_next_one_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CHUNK", 50)
    source = write_fasta(tmp_path / "in.fasta", 300)
    with pytest.raises(Interrupted):
        prepare(source, tmp_path / "out", options=PrepareOptions(), progress=interrupt)
    assert list(tmp_path.iterdir()) == [source]
    options = PrepareOptions(min_length=20)
    prepare(source, tmp_path / "out", options=options)
    prepare(source, tmp_path / "undisturbed", options=options)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def run(source: Path, out: Path, extra: str = "", **options: bool) -> subprocess.Popen[str]:
    script = f"""
    from sedd.data.prepare import preparing as module
    from pathlib import Path
    from sedd.data.prepare import readers
    readers.CHUNK = 50
    {extra}
    print("ready", flush=True)
    result = module.prepare(Path({str(source)!r}), Path({str(out)!r}), options=module.PrepareOptions(),
                            progress=globals().get("progress"), workers=globals().get("workers"))
    print(len(result.train))
    """
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_killed_process_leaves_no_store_and_the_next_one_makes_the_same(tmp_path: Path, workers: int) -> None:
    source = write_fasta(tmp_path / "in.fasta", 400)
    undisturbed = prepare(source, tmp_path / "undisturbed", options=PrepareOptions())
    die = "progress = lambda d, t, n: os.kill(os.getpid(), signal.SIGKILL) if n > 90 else None"
    process = run(source, tmp_path / "out", f"import os, signal\n    {die}\n    workers = {workers}")
    output, _ = process.communicate()  # ends when workers do: they hold its other end
    assert process.returncode == -9, output
    assert not (tmp_path / "out").exists()
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    assert result.tally == undisturbed.tally
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("crew")
@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        ("generated", 2),
        ("generated", 3),
        ("clusters", 2),
        ("dirty.fasta", 2),
        ("dirty.fasta", 3),
        ("dirty.fasta.gz", 2),
    ],
)
def test_the_number_of_workers_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, workers: int
) -> None:
    source = DATA / "dirty" / kind
    options = PrepareOptions(holdout=0.1, residues=Residues(ambiguous="split"))
    if kind in ("generated", "clusters"):
        source = write_fasta(tmp_path / "in.fasta", 1000)
    elif not source.exists():
        pytest.skip(f"{source} is not there")
    if kind == "clusters":
        (tmp_path / "c.tsv").write_text("".join(f"s{i}\t{i % 90}\n" for i in range(1000)))
        options = PrepareOptions(holdout=0.1, clusters=tmp_path / "c.tsv")
    one = prepare(source, tmp_path / "one", options=options, workers=1)
    monkeypatch.setattr(readers, "CHUNK", 700)
    more = prepare(source, tmp_path / "more", options=options, workers=workers)
    assert contents(tmp_path / "more") == contents(tmp_path / "one")
    assert str(more.tally) == str(one.tally)


@pytest.mark.usefixtures("crew")
@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (b">a\nACX\n" + b">b\nACD\n" * 90 + b">c\nAC*\n", {"residues": Residues(ambiguous="error", stop="error")}, 1),
        (b">b\nACD\n" * 60 + b">c\nX\n" + b">b\nACD\n" * 90 + b"\0", {"residues": Residues(ambiguous="error")}, 121),
        (b">b\nACD\n" * 90 + b">d\nA\0C\n", {}, 182),
        (b">b\nACD\n" * 90 + b">d one\rA\nC\n", {}, 181),
        (b">b\nXXX\n" * 90, {}, None),
    ],
)
def test_errors_are_the_same_with_workers_and_the_earliest_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, options: dict[str, object], line: int | None
) -> None:
    (tmp_path / "in.fasta").write_bytes(content)
    monkeypatch.setattr("sedd.data.prepare.bytestream.BLOCK", 400)
    monkeypatch.setattr(readers, "ENOUGH", 16)
    monkeypatch.setattr(readers, "CHUNK", 100)
    messages = []
    for workers in (1, 2):
        with pytest.raises(DataError) as caught:
            prepare(
                tmp_path / "in.fasta", tmp_path / "out",
                options=PrepareOptions(**options),  # type: ignore[arg-type]
                workers=workers,
            )  # fmt: skip
        messages.append(str(caught.value))
        assert caught.value.file == tmp_path / "in.fasta" or caught.value.file == Path("in.fasta")
        assert caught.value.line == line
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]
    assert messages[0] == messages[1]


@pytest.mark.long
def test_two_worker_processes_prepare_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fasta(tmp_path / "in.fasta", 300)
    one = prepare(source, tmp_path / "one", options=PrepareOptions(), workers=1)
    monkeypatch.setattr(readers, "CHUNK", 700)
    two = prepare(source, tmp_path / "two", options=PrepareOptions(), workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert str(two.tally) == str(one.tally)


@pytest.mark.long
def test_a_killed_worker_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crews
) -> None:
    monkeypatch.setattr(readers, "CHUNK", 50)
    source = write_fasta(tmp_path / "in.fasta", 1000)

    def kill_workers(done: int, total: int, count: int) -> None:
        if count > 100:
            for process in crews[0].processes:
                process.kill()

    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "out", options=PrepareOptions(), progress=kill_workers, workers=2)
    assert isinstance(caught.value.__cause__, ChildProcessError)
    assert None not in [process.poll() for process in crews[0].processes]
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.long
def test_ctrl_c_ends_the_workers_and_leaves_nothing(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 2000)
    # It stays in the middle until it is interrupted, however late that comes.
    show = "lambda d, t, n: (print('.', flush=True), time.sleep(600 * (n > 300)))"
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell has it ignored in the background
    extra = f"import signal, time\n    {listen}\n    progress = {show}\n    workers = 2"
    process = run(source, tmp_path / "out", extra, start_new_session=True)
    assert process.stdout is not None
    with process.stdout as output:
        for _ in range(60):
            assert output.readline() in ("ready\n", ".\n")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes get it
        printed = output.read()
    assert process.wait() != 0
    assert printed.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == [source]


def prepare_slowly(source: str, out: str) -> None:
    """The program of one of several processes; the number of its training sequences goes to a file of its own."""
    readers.CHUNK = 50
    result = prepare(Path(source), Path(out), options=PrepareOptions(), progress=lambda *now: time.sleep(0.001))
    Path(source).with_name(f"trained-{os.environ['RANK']}").write_text(str(len(result.train)))


def test_processes_that_prepare_the_same_wait_for_each_other(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 300)
    program = "tests.data.prepare.test_preparing:prepare_slowly"
    assert run_forked(program, str(source), str(tmp_path / "out"), count=3) == []
    numbers = [path.read_text() for path in sorted(tmp_path.glob("trained-*"))]
    whole = prepare(source, tmp_path / "whole", options=PrepareOptions())
    assert numbers == [str(len(whole.train))] * 3
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    others = ["in.fasta", "out", *(f"trained-{rank}" for rank in range(3)), "whole"]
    assert sorted(path.name for path in tmp_path.iterdir()) == others


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 50)
    seen: list[tuple[int, int, int]] = []
    result = prepare(source, tmp_path / "out", options=PrepareOptions(), progress=lambda *now: seen.append(now))
    size = source.stat().st_size
    assert seen[-1] == (size, size, result.tally.sequences)


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 5)
    with pytest.raises(DataError) as caught:
        prepare(source, source / "out", options=PrepareOptions())
    assert isinstance(caught.value.__cause__, OSError)


def test_whole_clusters_are_held_out(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 600)
    clusters = tmp_path / "c.tsv"
    clusters.write_text("".join(f"s{i}\tc{i % 60}\n" for i in range(600)))
    records = [part.partition("\n") for part in source.read_text().split(">")[1:]]
    cluster_of = {body.strip().upper(): int(name[1:]) % 60 for name, _, body in records if len(body.strip()) > 10}
    options = PrepareOptions(clusters=clusters, holdout=0.2, min_length=11, alphabet="esm")
    result = prepare(source, tmp_path / "out", options=options)
    train, valid = ({cluster_of[s] for s in sequences(store)} for store in (result.train, result.valid))
    assert 30 < len(train) < 60
    assert train | valid == set(range(60))
    assert not train & valid


def test_an_id_without_a_cluster_is_named_and_counted(tmp_path: Path) -> None:
    clusters = tmp_path / "c.tsv"
    clusters.write_text("a\tA\nc\tC\n")
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, ">a\nACD\n>b\nACE\n>d\nACF\n", clusters=clusters)
    assert caught.value.file == clusters
    assert f"2 of 3 sequences, first 'b' at {tmp_path / 'in.fasta'}:3" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "noted"),
    [
        ("P0\tP0\nP0\tP1\nP2\tP2\nP2\tP3\n", {"cluster_alias", "cluster_order"}),
        (">Cluster 0\n0\t9aa, >P0... *\n1\t9aa, >P1... at 90%\n>Cluster 1\n0\t9aa, >P2... *\n1\t9aa, >P3... at 9%\n",
         {"cluster_alias", "cluster_cdhit"}),
        ("".join(f"sp|P{i}|X\tC{i // 2}\n" for i in range(4)), set()),
    ],
)  # fmt: skip
def test_how_a_cluster_file_was_read_is_noted(tmp_path: Path, content: str, noted: set[str]) -> None:
    clusters = tmp_path / "clusters"
    clusters.write_text(content)
    records = "".join(f">sp|P{i}|X\nMKV{'ACDE'[i] * 6}\n" for i in range(4))
    found = prepared(tmp_path, records, clusters=clusters, holdout=0.5)
    assert set(found.tally.noted) == noted
    halves = [set(sequences(store)) for store in (found.train, found.valid)]
    assert sorted(map(sorted, halves)) == [["MKVAAAAAA", "MKVCCCCCC"], ["MKVDDDDDD", "MKVEEEEEE"]]


def test_no_cluster_of_uniref_is_on_both_sides(tmp_path: Path) -> None:
    source, table = DATA / "uniref_10k.fasta.gz", DATA / "uniref_10k_clusters.tsv.gz"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    cluster_of = dict(line.split("\t")[:2] for line in gzip.decompress(table.read_bytes()).decode().splitlines())
    of_sequence: dict[str, str] = {}
    for part in gzip.decompress(source.read_bytes()).decode().split(">")[1:]:
        header, _, body = part.partition("\n")
        of_sequence[body.replace("\n", "")] = cluster_of[header.split()[0]]
    result = prepare(source, tmp_path / "out", options=PrepareOptions(clusters=table, holdout=0.1))
    train, valid = ({of_sequence[s] for s in sequences(store)} for store in (result.train, result.valid))
    assert train
    assert valid
    assert not train & valid
    assert len(result.train) + len(result.valid or ()) == len(of_sequence) == 9655


@pytest.mark.parametrize(
    ("name", "line", "repairs"),
    [
        ("binary.fasta", 1, {}),
        ("bom.fasta", None, {"byte_order_mark": 1}),
        ("cr_only.fasta", None, {"carriage_returns": 3}),
        ("crlf_all.fasta", None, {"carriage_returns": 3}),
        ("empty.fasta", 1, {}),
        ("gz_content_plain_name.fasta", None, {}),
        ("multimember.fasta.gz", None, {}),
        ("no_header.fasta", 1, {}),
        ("nul_byte.fasta", 2, {}),
        ("only_blank.fasta", 3, {}),
        ("plain_content_gz_name.fasta.gz", None, {}),
        ("residues_before_header.fasta", 1, {}),
        ("trailing_garbage.fasta.gz", 7, {}),
        ("utf16.fasta", 1, {}),
    ],
)
def test_every_broken_file_is_repaired_or_refused_with_file_and_line(
    tmp_path: Path, name: str, line: int | None, repairs: dict[str, int]
) -> None:
    source = EXTRA / name
    if not source.exists():
        pytest.skip(f"{source} is not there")
    if line is not None:
        with pytest.raises(DataError) as caught:
            prepare(source, tmp_path / "out", options=PrepareOptions())
        assert (caught.value.file, caught.value.line) == (source, line)
        assert not list(tmp_path.iterdir())
        return
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    assert {kind: found.records for kind, found in result.tally.repaired.items()} == repairs
    assert result.tally.read == result.tally.kept == (6 if "multimember" in name else 3)
    clean = prepare(EXTRA / "plain_content_gz_name.fasta.gz", tmp_path / "clean", options=PrepareOptions())
    if "multimember" not in name:
        assert sequences(result.train) == sequences(clean.train)


def test_a_truncated_file_is_refused_however_much_of_it_can_be_read(tmp_path: Path) -> None:
    source = EXTRA / "truncated.fasta.gz"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "out", options=PrepareOptions())
    assert caught.value.file == source
    assert (caught.value.line or 0) > 1
    assert not list(tmp_path.iterdir())


def test_a_file_of_headers_alone_has_no_sequence(tmp_path: Path) -> None:
    source = EXTRA / "only_headers.fasta"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "out", options=PrepareOptions())
    assert (caught.value.file, caught.value.line) == (source, None)


def test_every_broken_file_has_a_case() -> None:
    if not EXTRA.exists():
        pytest.skip(f"{EXTRA} is not there")
    [mark] = test_every_broken_file_is_repaired_or_refused_with_file_and_line.pytestmark  # type: ignore[attr-defined]
    assert sorted(path.name for path in EXTRA.iterdir()) == sorted(
        ["only_headers.fasta", "truncated.fasta.gz", *(case[0] for case in mark.args[1])]
    )


@pytest.mark.parametrize("name", ["dirty.fasta", "dirty.fasta.gz"])
def test_the_dirty_file_is_read_completely(tmp_path: Path, name: str) -> None:
    source = DATA / "dirty" / name
    if not source.exists():
        pytest.skip(f"{source} is not there")
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    tally = result.tally
    assert (tally.read, tally.kept, tally.lost) == (218, 185, 33)
    assert len(result.train) + len(result.valid or ()) == 185
