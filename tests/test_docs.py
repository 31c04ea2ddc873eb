"""What the documentation says is what happens: its fences run, its run files load, its command lines parse."""

from __future__ import annotations

import importlib.util
import json
import linecache
import re
import shlex
import sys
import tomllib
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

import sedd
from sedd.cli import app
from sedd.config.run_file import presets
from sedd.plugins import hookspecs
from sedd.plugins import registry as plugins

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md")) + sorted(ROOT.glob("plugins/*/README.md"))
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^>]+) -->\n)?^(?P<indent> *)```(?P<language>[a-z]*)(?P<more>[^\n`]*)\n"
    r"(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str
    why_not: str | None
    """Why it is not run, where the page says so."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fences(page: Path, *languages: str) -> list[Fence]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        if match["language"] in languages:
            line = text.count("\n", 0, match.start("code")) + 1
            code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
            found.append(Fence(page, line, match["language"], code, match["why"]))
    return found


def every(*languages: str) -> list[Fence]:
    return [fence for page in PAGES for fence in fences(page, *languages) if fence.why_not is None]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# Python ------------------------------------------------------------------------------------------------------------


def pages_of_python() -> Iterator[Any]:
    """The pages with Python; all but the README train for long."""
    for page in PAGES:
        if fences(page, "python"):
            yield pytest.param(page, marks=[] if page == ROOT / "README.md" else pytest.mark.long, id=name_of(page))


@pytest.mark.parametrize("page", list(pages_of_python()))
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = types.ModuleType("page")  # classes are looked up in their module, so there must be one
    monkeypatch.setitem(sys.modules, "page", module)
    for fence in fences(page, "python"):
        if fence.why_not is not None:
            continue
        # Blank lines put the code where it stands on the page, so that a traceback points there.
        source, where = "\n" * (fence.line - 1) + fence.code, f"<{fence}>"
        linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)
        exec(compile(source, where, "exec"), module.__dict__)  # noqa: S102  # our own pages


def test_the_run_and_the_curriculum_of_the_readme_are_short() -> None:
    run, curriculum = fences(ROOT / "README.md", "python")
    assert "Trainer(" in run.code
    assert len(run.code.splitlines()) <= 12
    assert "sedd.Ramp" in curriculum.code
    assert len(curriculum.code.splitlines()) <= 15


# Run files and command lines -----------------------------------------------------------------------------------------


@pytest.fixture
def our_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if everything in plugins/ were installed: pages name those parts."""
    entries = {entry.value: entry for entry in plugins.installed_entry_points()}
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        monkeypatch.syspath_prepend(str(file.parent / "src"))
        declared = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["entry-points"][plugins.GROUP]
        for name, value in declared.items():
            entries.setdefault(value, EntryPoint(name, value, plugins.GROUP))
    monkeypatch.setattr(plugins, "installed_entry_points", lambda: list(entries.values()))
    plugins.registry.cache_clear()
    yield
    plugins.registry.cache_clear()


@pytest.mark.usefixtures("our_plugins")
@pytest.mark.parametrize("fence", every("yaml"), ids=str)
def test_a_run_file_on_a_page_loads(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(fence.code, encoding="utf-8")
    load(str(file))


def load(source: str | dict[str, Any], *overrides: str) -> None:
    """Load a configuration; pieces of run files may well be worth a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sedd.SeddWarning)
        sedd.load_config(source, *overrides)


def command_lines() -> Iterator[Any]:
    for fence in every("console", "bash", "shell"):
        for line in fence.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if ("-m", "sedd") in pairwise(words):  # torchrun, perhaps through srun
                words = words[words.index("-m") + 1 :]
            if words[:1] == ["sedd"]:
                yield pytest.param(words[1:], id=f"{name_of(fence.page)}: {' '.join(words)}"[:100])


@pytest.mark.usefixtures("our_plugins")
@pytest.mark.parametrize("words", list(command_lines()))
def test_a_command_on_a_page_parses(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    path = []
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no such command: sedd {' '.join([*path, words[0]])}"
        command = command.commands[words[0]]
        path.append(words[0])
        words = words[1:]
    if set(words) & {"-h", "--help", "-V", "--version", "--install-completion", "--show-completion"}:
        return
    values = command.make_context(" ".join(["sedd", *path]), list(words)).params
    if path == ["train"]:
        preset = values["config"]
        if preset is None or "=" in preset:
            assert values["resume"]
            load({}, *filter(None, [preset, *(values["overrides"] or [])]))
            return
        assert preset in presets() or Path(preset).suffix in {".yaml", ".yml"}, f"no such preset: {preset}"
        load(preset if preset in presets() else {}, *(values["overrides"] or []))
    if path == ["data", "prepare"]:
        load({}, *(f"data.{item}" for item in values["overrides"] or []))


# Reference pages say everything --------------------------------------------------------------------------------------


EVERYWHERE = ("-h", "--help", "-q", "--quiet")
"""Options of every command, which have a table of their own."""


def options() -> Iterator[Any]:
    def walk(command: Any, path: str) -> Iterator[Any]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{path} {name}")
        if not hasattr(command, "commands"):
            names = [name for p in command.params if p.param_type_name == "option" for name in p.opts]
            yield pytest.param(path, [name for name in names if name not in EVERYWHERE], id=path)

    yield from walk(typer.main.get_command(app), "sedd")


@pytest.mark.parametrize(("command", "names"), list(options()))
def test_every_command_and_option_is_documented(command: str, names: list[str]) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert f"## `{command}`\n" in page
    section = page.split(f"## `{command}`\n")[1].split("\n## ")[0]
    rows = "\n".join(line for line in section.splitlines() if line.startswith("| "))
    missing = [name for name in names if not re.search(rf"`{re.escape(name)}[ `]", rows)]
    assert not missing, f"docs/reference/cli.md does not say what {missing} of {command} do"


def test_the_options_of_every_command_are_documented() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8").split("\n## ")[0]
    group: Any = typer.main.get_command(app)
    names = {name for option in group.params for name in option.opts} | set(EVERYWHERE)
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_every_hook_is_documented() -> None:
    page = (ROOT / "docs/reference/plugins.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(hookspecs) if name.startswith("sedd_")]
    assert hooks
    assert [name for name in hooks if f"`{name}`" not in page] == []


def test_every_public_name_is_documented() -> None:
    page = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "docs/reference/api").glob("*.md"))
    assert [name for name in sedd.__all__ if f"sedd.{name}" not in page] == []


def test_the_tables_of_the_configuration_page_are_up_to_date() -> None:
    script = ROOT / "docs/make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", script)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = made.PAGE.read_text(encoding="utf-8")
    assert made.page(text) == text, "run python docs/make_configuration.py"
    empty = [line for line in text.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not empty, "give these keys a docstring"


def test_every_file_of_a_run_and_every_key_in_it_is_documented(tmp_path: Path) -> None:
    config = sedd.load_config(
        "quickstart",
        "training.n_iters=2",
        "training.log_every=1",
        "optim.warmup=1",
        "curriculum.preschool_time=1",
        "data.synthetic.sequences=300",
        "model.n_blocks=1",
        "evaluation.sequences=4",
        "device.type=cpu",
    )
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    trainer.fit(progress=False)
    saved = trainer.run.checkpoints / "step-00000002"
    names = {key for line in trainer.run.read_metrics() for key in line}
    names |= {key for line in trainer.run.read_metrics() for key in [line["kind"]]}
    names |= set(json.loads((saved / "state.json").read_text()))
    names |= set(json.loads((saved / "state.json").read_text())["train"])
    page = (ROOT / "docs/reference/files.md").read_text(encoding="utf-8")
    assert sorted(name for name in names if f"`{name}`" not in page and f'"{name}"' not in page) == []
    files = {file.name for folder in (trainer.run.path, saved) for file in folder.iterdir()}
    assert sorted(name for name in files if name not in page) == []


# Links ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_on_a_page_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_a_link_in_a_notebook_leads_somewhere() -> None:
    for file in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(file.read_text("utf-8"))["cells"] if cell["cell_type"] == "markdown"]
        targets = re.findall(r"\]\(([^)\s]+)\)", "".join(line for cell in cells for line in cell["source"]))
        assert targets
        assert [target for target in targets if not (file.parent / target).exists()] == []


def test_no_page_of_the_site_is_missing_or_left_out() -> None:
    listed = re.findall(
        r": ([a-z/-]+\.(?:md|ipynb))$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    there = {
        str(page.relative_to(ROOT / "docs")) for kind in ("md", "ipynb") for page in (ROOT / "docs").rglob(f"*.{kind}")
    }
    assert set(listed) == there


QUOTED = re.compile(r"<!-- quoted: (\S+) -->\n```[^\n]*\n(.*?)\n```", re.DOTALL)


def test_what_a_page_quotes_is_what_the_file_says():
    quotes = [match for page in PAGES for match in QUOTED.findall(page.read_text(encoding="utf-8"))]
    assert len(quotes) >= 3
    for path, text in quotes:
        assert text == (ROOT / path).read_text(encoding="utf-8").rstrip("\n"), path
