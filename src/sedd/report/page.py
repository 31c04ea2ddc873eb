"""The page: one HTML file with everything in it."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from sedd.report import curves, quality, words
from sedd.report.contents import Contents

SECTIONS = (
    ("loss", "Training loss", curves.loss),
    ("attribution", "Curriculum or model?", curves.attribution),
    ("normalised", "Loss with the difficulty taken out", curves.normalised),
    ("bound", "Held-out bound", curves.bound),
    ("profile", "Loss by mask rate", curves.profile),
    ("optimizer", "Optimizer", curves.optimizer),
    ("alarms", "Alarms", words.alarms),
    ("quality", "Quality of samples", quality.section),
    ("samples", "Samples", words.samples),
    ("comparable", "What may be compared", words.comparable),
    ("configuration", "Configuration", words.configuration),
    ("environment", "Environment", words.environment),
)
"""Of a report, in order: anchor, heading, what makes it."""


def render(contents: Contents) -> str:
    """The whole page. It needs no network, and no script except to show values at the pointer."""
    name = escape(contents.name)
    links = "".join(f'<a href="#{anchor}">{heading}</a> ' for anchor, heading, _ in SECTIONS)
    sections = "\n".join(
        f'<section id="{anchor}">\n<h2>{heading}</h2>\n{make(contents)}\n</section>'
        for anchor, heading, make in SECTIONS
    )
    version = contents.environment.get("sedd")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}: training report</title>
<style>
{_resource("page.css")}</style>
</head>
<body>
<header>
<p class="small">Training report</p>
<h1>{name}</h1>
</header>
<main>
{words.verdict(contents)}
{words.numbers(contents)}
{words.missing(contents)}
<nav aria-label="Sections">{links}</nav>
{sections}
</main>
<footer class="small"><p>Made by <code>sedd report</code>{f"; trained with sedd {escape(version)}" if version else ""}.
Losses and bounds are in nats per residue.</p></footer>
<script>
{_resource("page.js")}</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
