"""A trained run, run directories of chosen parts, and an HTML page as data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import sedd
from sedd.data import PROTEIN
from sedd.data.synthetic import SyntheticSource
from sedd.evaluation.quality import TrainingIndex, judge
from sedd.report.contents import gather
from sedd.report.page import render
from tests.conftest import TINY

VOID = {"meta", "br", "link", "img", "input", "hr"}
CLOCK = ("training.n_iters=40", "training.log_every=2", "training.eval_every=10", "curriculum.preschool_time=20")

Records = list[dict[str, Any]]
Make = Callable[..., Path]
Attributes = dict[str, str | None]


class Page(HTMLParser):
    """A parsed page; fails on tags that do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, Attributes]] = []
        self.tags: list[tuple[str, Attributes]] = []
        self.text: dict[str, str] = {}
        """Text by the id of each element that it is in."""
        self.absent: set[str] = set()
        """Ids of elements with a sentence on why they are empty."""
        self.tables: dict[str, list[list[list[str]]]] = {}
        """Tables by the id of the innermost element that has one: rows of cells."""
        self.feed(text)
        self.close()
        assert self.open == []

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.open if "id" in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))
        if attributes.get("class") == "absent":
            self.absent |= set(self.ids())
        if tag == "table":
            self.tables.setdefault(self.ids()[-1], []).append([])
        elif tag == "tr":
            self.tables[self.ids()[-1]][-1].append([])
        elif tag in ("td", "th"):
            self.tables[self.ids()[-1]][-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for name in ("", *self.ids()):
            self.text[name] = self.text.get(name, "") + data
        if any(tag in ("td", "th") for tag, _ in self.open):
            self.tables[self.ids()[-1]][-1][-1][-1] += data

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def figures(self) -> set[str]:
        return {str(figure["id"]).removeprefix("figure-") for figure in self.all("figure")}


def page_of(run: Path) -> Page:
    return Page(render(gather(run)))


def of_kind(records: Records, *kinds: str) -> Records:
    return [record for record in records if record["kind"] in kinds]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "mine"
    sedd.Trainer(sedd.load_config("quickstart", *TINY, *CLOCK), run=run).fit(progress=False)
    return run


@pytest.fixture(scope="session")
def records(trained: Path) -> Records:
    return [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def page(trained: Path) -> Page:
    """The page of the trained run."""
    return page_of(trained)


@pytest.fixture
def no_svg(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages get empty images, which saves most of their time; after `page`, which has real ones."""
    monkeypatch.setattr("sedd.report.figures.to_svg", lambda figure, *, salt: b"<svg/>")


@pytest.fixture
def make(trained: Path, tmp_path: Path) -> Make:
    """Makes a run directory of chosen parts."""

    def made(
        metrics: Records | None,
        *,
        config: Callable[[str], str] | None = str,
        samples: Mapping[str, str] | None = None,
    ) -> Path:
        run = tmp_path / "run"
        run.mkdir()
        if config is not None:
            (run / "config.yaml").write_text(config((trained / "config.yaml").read_text()))
        if metrics is not None:
            (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics))
        for name, text in (samples or {}).items():
            (run / "samples").mkdir(exist_ok=True)
            (run / "samples" / name).write_text(text)
        return run

    return made


@pytest.fixture(scope="session")
def judged() -> Records:
    """`samples` lines of two steps: samples without any order, and samples as good as held-out sequences."""
    held_out, good = (
        SyntheticSource(sequences=60, min_length=40, max_length=60, order=3.0, seed=seed, part="valid")
        for seed in (0, 1)
    )
    bad = SyntheticSource(sequences=30, min_length=40, max_length=60, order=0.0, seed=2, part="valid")
    training = TrainingIndex.of(good, PROTEIN)
    outcomes = [judge(samples, held_out, training=training) for samples in (bad, good)]
    return [
        {"kind": "samples", "step": step, **quality.numbers(), "quality": quality.to_dict()}
        for step, quality in zip((10, 30), outcomes, strict=True)
    ]
