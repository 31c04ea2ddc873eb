from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sedd.config.sections import Residues
from sedd.data import TokenStore
from sedd.data.prepare import preparing, readers
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import Prepared, prepare
from sedd.errors import DataError

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
    with pytest.raises(DataError, match=r"only one distinct sequence.*data\.valid"):
        prepared(tmp_path, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]
    assert len(prepared(tmp_path, content, holdout=0.0).train)


def test_an_error_in_the_source_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"in.fasta:3: a NUL byte"):
        prepared(tmp_path, b">a\nACD\n\0\n")
    with pytest.raises(
        DataError, match=r"no sequence is left(.|\n)*1 read, 0 kept, 1 dropped(.|\n)*first: in.fasta:1 a"
    ):
        prepared(tmp_path, ">a\nXX\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]


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
    assert "min_length: the store has 2, wanted 5" in str(caught.value)
    assert "residues.stop: the store has 'strip', wanted 'drop'" in str(caught.value)
    write_fasta(source, 51)
    with pytest.raises(DataError, match=r"made from another in.fasta"):
        prepare(source, tmp_path / "out", options=PrepareOptions())


def test_what_is_no_store_is_never_overwritten(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(DataError, match=r"is not a prepared store"):
        prepare(source, tmp_path / "out", options=PrepareOptions())
    (tmp_path / "out/thesis.tex").unlink()
    assert len(prepare(source, tmp_path / "out", options=PrepareOptions()).train)  # an empty directory is fine
    with pytest.raises(DataError, match=r"is not a prepared store"):
        prepare(source, source, options=PrepareOptions())
    with pytest.raises(DataError, match=r"no such file"):
        prepare(tmp_path / "missing", tmp_path / "out2", options=PrepareOptions())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kind", ["fasta", "fasta.gz", "clusters", "text", "tiny holdout"])
def test_an_interrupted_preparation_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(preparing, "SAVE_EVERY", 17)
    monkeypatch.setattr(readers, "CHUNK", 50)
    source, options = write_fasta(tmp_path / "in.fasta", 300), PrepareOptions(holdout=0.2)
    if kind == "fasta.gz":
        source.write_bytes(gzip.compress(source.read_bytes(), mtime=0))
    elif kind == "clusters":
        clusters = tmp_path / "c.tsv"
        clusters.write_text("".join(f"s{i}\t{i % 40}\n" for i in range(300)))
        options = PrepareOptions(holdout=0.2, clusters=clusters)
    elif kind == "text":
        source.write_text("Ein Text, öfter wiederholt.\r\n" * 200, newline="")
        options = PrepareOptions(alphabet="text", chunk_length=13, holdout=0.2)
    elif kind == "tiny holdout":
        options = PrepareOptions(holdout=1e-9)
    whole = prepare(source, tmp_path / "whole", options=options)
    rng = random.Random(0)
    stops = 0
    for attempt in range(100):
        after = rng.randrange(1, 50)

        def killer(done: int, total: int, count: int, left: list[int] = [after]) -> None:  # noqa: B006 (a counter)
            left[0] -= 1
            if not left[0]:
                raise Killed

        try:
            result = prepare(source, tmp_path / "out", options=options, progress=killer)
            break
        except Killed:
            stops += 1
            partial = tmp_path / ".out.partial/train/tokens.bin"
            with partial.open("ab") as file:
                file.write(b"torn" * attempt)  # what a killed process may leave behind the last durable state
    assert stops > 2
    assert result.tally == whole.tally
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


def run(source: Path, out: Path, extra: str = "", **options: bool) -> subprocess.Popen[str]:
    script = f"""
    from sedd.data.prepare import preparing as module
    from pathlib import Path
    from sedd.data.prepare import readers
    module.SAVE_EVERY, readers.CHUNK = 20, 50
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


def test_a_killed_process_leaves_a_preparation_that_another_finishes(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 400)
    whole = prepare(source, tmp_path / "whole", options=PrepareOptions())
    die = "import os, signal\n    progress = lambda d, t, n: os.kill(os.getpid(), signal.SIGKILL) if n > {} else None"
    for sequences_done in (90, 250):
        process = run(source, tmp_path / "out", die.format(sequences_done))
        output, _ = process.communicate()
        assert process.returncode == -9, output
    assert (tmp_path / ".out.partial/progress.json").exists()
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert result.tally == whole.tally


def test_ten_kills_at_random_points_change_nothing(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 2000)
    whole = prepare(source, tmp_path / "whole", options=PrepareOptions())
    rng = random.Random(0)
    for number in range(10):
        workers = 2 if number == 4 else 1
        told = f"progress = lambda d, t, n: print('.', flush=True)\n    workers = {workers}"
        process = run(source, tmp_path / "out", told)
        assert process.stdout is not None
        with process.stdout as output:
            for _ in range(1 + rng.randrange(60)):
                assert output.readline() in ("ready\n", ".\n")
            process.kill()
            output.read()  # ends when workers do: they hold its other end
        assert process.wait() == -9
    saved = json.loads((tmp_path / ".out.partial/progress.json").read_text())
    assert 100 < saved["state"]["tally"]["read"] < 2000
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert result.tally == whole.tally


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


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (b">a\nACX\n" + b">b\nACD\n" * 90 + b">c\nAC*\n", {"residues": Residues(ambiguous="error", stop="error")}, 1),
        (b">b\nACD\n" * 60 + b">c\nX\n" + b">b\nACD\n" * 90 + b"\0", {"residues": Residues(ambiguous="error")}, 121),
        (b">b\nACD\n" * 90 + b">d\nA\0C\n", {}, 182),
        (b">b\nACD\n" * 90 + b">d one\rA\nC\n", {}, 181),
        (b">b\nXXX\n" * 90, {}, 1),
    ],
)
def test_errors_are_the_same_with_workers_and_the_earliest_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, options: dict[str, object], line: int
) -> None:
    (tmp_path / "in.fasta").write_bytes(content)
    monkeypatch.setattr("sedd.data.prepare.bytestream.BLOCK", 400)
    monkeypatch.setattr(readers, "ENOUGH", 16)
    monkeypatch.setattr(readers, "CHUNK", 100)
    said = []
    for workers in (1, 2):
        with pytest.raises(DataError) as caught:
            prepare(
                tmp_path / "in.fasta", tmp_path / "out",
                options=PrepareOptions(**options),  # type: ignore[arg-type]
                workers=workers,
            )  # fmt: skip
        said.append(str(caught.value))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]
    assert said[0] == said[1]
    assert f"in.fasta:{line}" in said[0]


def test_a_killed_worker_is_an_error_and_what_was_saved_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SAVE_EVERY", 20)
    monkeypatch.setattr(readers, "CHUNK", 50)
    source = write_fasta(tmp_path / "in.fasta", 1000)
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)

    def killer(done: int, total: int, count: int) -> None:
        if count > 400:
            for process in started:
                process.kill()

    with pytest.raises(DataError, match=r"a worker process ended \(SIGKILL; memory may be short.*goes on where"):
        prepare(source, tmp_path / "out", options=PrepareOptions(), progress=killer, workers=2)
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)
    assert json.loads((tmp_path / ".out.partial/progress.json").read_text())["state"]["tally"]["read"] > 300
    prepare(source, tmp_path / "out", options=PrepareOptions())
    prepare(source, tmp_path / "whole", options=PrepareOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_ctrl_c_ends_the_workers_and_keeps_what_was_saved(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 2000)
    # It stays in the middle until it is interrupted, however late that comes.
    shown = "lambda d, t, n: (print('.', flush=True), time.sleep(600 * (n > 300)))"
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell has it ignored in the background
    told = f"import signal, time\n    {heard}\n    progress = {shown}\n    workers = 2"
    process = run(source, tmp_path / "out", told, start_new_session=True)
    assert process.stdout is not None
    with process.stdout as output:
        for _ in range(60):
            assert output.readline() in ("ready\n", ".\n")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes get it
        said = output.read()
    process.wait()
    assert said.count("Traceback") == 1  # of the one that asked, none of the workers
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert (tmp_path / ".out.partial/progress.json").exists()


def test_processes_that_prepare_the_same_wait_for_each_other(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 300)
    slow = "import time\n    progress = lambda d, t, n: time.sleep(0.001)"
    processes = [run(source, tmp_path / "out", slow) for _ in range(3)]
    outputs = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({tuple(output) for output in outputs}) == 1
    prepare(source, tmp_path / "whole", options=PrepareOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta", "out", "whole"]


def test_other_options_do_not_go_on_with_a_partial_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "SAVE_EVERY", 10)
    monkeypatch.setattr(readers, "CHUNK", 50)

    def killer(done: int, total: int, count: int) -> None:
        if count > 60:
            raise Killed

    source = write_fasta(tmp_path / "in.fasta", 100)
    with pytest.raises(Killed):
        prepare(source, tmp_path / "out", options=PrepareOptions(), progress=killer)
    options = PrepareOptions(min_length=20)
    prepare(source, tmp_path / "out", options=options)
    prepare(source, tmp_path / "whole", options=options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_was_saved_and_is_damaged_is_not_built_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "SAVE_EVERY", 10)
    monkeypatch.setattr(readers, "CHUNK", 50)

    def killer(done: int, total: int, count: int) -> None:
        if count > 60:
            raise Killed

    source = write_fasta(tmp_path / "in.fasta", 100)
    for name, content in (("train/tokens.bin", "short"), ("progress.json", "[]"), ("progress.json", "{")):
        with pytest.raises(Killed):
            prepare(source, tmp_path / "out", options=PrepareOptions(), progress=killer)
        (tmp_path / ".out.partial" / name).write_text(content)
        if content == "short":
            with pytest.raises(DataError, match=r"tokens.bin: is shorter than it was saved"):
                prepare(source, tmp_path / "out", options=PrepareOptions())
    prepare(source, tmp_path / "out", options=PrepareOptions())
    prepare(source, tmp_path / "whole", options=PrepareOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 50)
    seen: list[tuple[int, int, int]] = []
    result = prepare(source, tmp_path / "out", options=PrepareOptions(), progress=lambda *now: seen.append(now))
    size = source.stat().st_size
    assert seen[-1] == (size, size, result.tally.sequences)


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "in.fasta", 5)
    with pytest.raises(DataError, match=r"in.fasta"):
        prepare(source, source / "out", options=PrepareOptions())


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
    with pytest.raises(DataError, match=r"no cluster for 2 of 3 sequences, first 'b' at .*in.fasta:3"):
        prepared(tmp_path, ">a\nACD\n>b\nACE\n>d\nACF\n", clusters=clusters)


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
    ("name", "outcome"),
    [
        ("binary.fasta", "binary.fasta:1: a NUL byte"),
        ("bom.fasta", {"byte_order_mark": 1}),
        ("cr_only.fasta", {"carriage_returns": 3}),
        ("crlf_all.fasta", {"carriage_returns": 3}),
        ("empty.fasta", "empty.fasta:1: the file is empty"),
        ("gz_content_plain_name.fasta", {}),
        ("multimember.fasta.gz", {}),
        ("no_header.fasta", "no_header.fasta:1: expected a FASTA header that starts with '>', got 'MSTDID"),
        ("nul_byte.fasta", "nul_byte.fasta:2: a NUL byte"),
        ("only_blank.fasta", "only_blank.fasta:3: the file holds only blank lines"),
        ("only_headers.fasta", r"no sequence is left(.|\n)*3  no residues \(first: only_headers.fasta:1 a\)"),
        ("plain_content_gz_name.fasta.gz", {}),
        ("residues_before_header.fasta", "residues_before_header.fasta:1: expected a FASTA header"),
        ("trailing_garbage.fasta.gz", "trailing_garbage.fasta.gz:7: after the compressed data come bytes"),
        ("truncated.fasta.gz", r"truncated.fasta.gz:\d+: the compressed data end too early"),
        ("utf16.fasta", "utf16.fasta:1: the file is UTF-16"),
    ],
)
def test_every_broken_file_is_repaired_or_refused_with_file_and_line(
    tmp_path: Path, name: str, outcome: str | dict[str, int]
) -> None:
    source = EXTRA / name
    if not source.exists():
        pytest.skip(f"{source} is not there")
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome):
            prepare(source, tmp_path / "out", options=PrepareOptions())
        assert not list(tmp_path.iterdir())
        return
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    assert {kind: found.count for kind, found in result.tally.repaired.items()} == outcome
    assert result.tally.read == result.tally.kept == (6 if "multimember" in name else 3)
    clean = prepare(EXTRA / "plain_content_gz_name.fasta.gz", tmp_path / "clean", options=PrepareOptions())
    if "multimember" not in name:
        assert sequences(result.train) == sequences(clean.train)


def test_every_broken_file_there_is_has_a_case_here() -> None:
    if not EXTRA.exists():
        pytest.skip(f"{EXTRA} is not there")
    [mark] = test_every_broken_file_is_repaired_or_refused_with_file_and_line.pytestmark  # type: ignore[attr-defined]
    assert sorted(path.name for path in EXTRA.iterdir()) == sorted(case[0] for case in mark.args[1])


@pytest.mark.parametrize("name", ["dirty.fasta", "dirty.fasta.gz"])
def test_the_dirty_file_is_read_whole(tmp_path: Path, name: str) -> None:
    source = DATA / "dirty" / name
    if not source.exists():
        pytest.skip(f"{source} is not there")
    result = prepare(source, tmp_path / "out", options=PrepareOptions())
    tally = result.tally
    assert (tally.read, tally.kept, tally.lost) == (218, 185, 33)
    assert len(result.train) + len(result.valid or ()) == 185
