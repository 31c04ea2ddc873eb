"""The sections without charts: verdict, key numbers, alarms, samples, what may be compared, configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from itertools import groupby

from sedd.diagnosis.alarms import Alarm, Kind
from sedd.report.charts import bound_levels
from sedd.report.contents import Contents
from sedd.report.curves import hours
from sedd.report.samples import SampleFile

WORDS: dict[Kind, tuple[str, str]] = {
    "healthy": ("good", "healthy"),
    "curriculum": ("good", "healthy, the curriculum climbs"),
    "plateau": ("wait", "plateau"),
    "little signal": ("wait", "too little signal"),
    "learning": ("bad", "the model got worse"),
    "instability": ("bad", "unstable"),
    "data": ("bad", "the data changed"),
}
_TONES = {"info": "good", "warning": "wait", "critical": "bad"}
_CLASSES = {"h": "ACGILMPV", "a": "FWY", "p": "NQST", "c": "DEHKR"}
_CLASS_OF = {letter: name for name, letters in _CLASSES.items() for letter in letters}


def verdict(contents: Contents) -> str:
    """The first sentence large, the story behind it small."""
    tone, word = WORDS[contents.verdict.kind]
    lead, *rest = re.split(r"(?<=[.!?])\s+(?=[A-Z])", contents.verdict.sentence.strip(), maxsplit=1)
    more = f"<p>{escape(rest[0])}</p>" if rest else ""
    return (
        f'<div class="verdict {tone}" id="verdict"><span class="word">{escape(word)}</span>'
        f'<p class="lead">{escape(lead)}</p>{more}</div>'
    )


def missing(contents: Contents) -> str:
    """What could not be read."""
    if not contents.missing:
        return ""
    items = "".join(f"<li>{escape(each)}</li>" for each in contents.missing)
    return f'<div class="note" id="missing"><strong>What is missing</strong><ul>{items}</ul></div>'


def numbers(contents: Contents) -> str:
    """The numbers that people ask for first: value, and a small line under it."""
    history, config = contents.history, contents.config
    of = f"of {config.training.n_iters:,}" if config is not None else ""
    found = [("optimizer step", f"{contents.step:,}", of), *_bound_numbers(contents)]
    if history.lines:
        last = history.lines[-1]
        found.append(
            (
                "training loss",
                f"{last.loss:.4f}" if last.loss < 1000 else f"{last.loss:.4g}",
                f"nats per residue, at difficulty {last.difficulty:.2f}",
            )
        )
        if last.seconds > 0:
            rate = f"{last.residues / last.seconds:,.0f} residues per second"
            found.append(("time in training steps", hours(last.seconds / 3600), rate))
        found.append(("residues seen", _large(last.residues), ""))
    if contents.parameters is not None:
        found.append(("parameters", _large(contents.parameters), ""))
    if contents.data:
        length = f"of {contents.data['mean_length']:.0f} residues on average"
        found.append(("training sequences", f"{contents.data['sequences']:,}", length))
    trouble = [f"{len(history.skipped):,} skipped"] if history.skipped else []
    trouble += [f"{len(contents.rollbacks):,} rolled back"] if contents.rollbacks else []
    if trouble:
        found.append(("steps", ", ".join(trouble), ""))
    return '<dl class="numbers">' + "".join(_number(*each) for each in found) + "</dl>"


def _number(name: str, value: str, more: str) -> str:
    small = f"<small>{escape(more)}</small>" if more else ""
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}{small}</dd></div>"


def _bound_numbers(contents: Contents) -> list[tuple[str, str, str]]:
    bounds = contents.finite_bounds
    if not bounds:
        return [("held-out bound", "none yet", "")]
    last, best = bounds[-1], min(bounds, key=lambda bound: bound.nats)
    error = f" ± {last.stderr:.4f}" if math.isfinite(last.stderr) else ""
    more = f"nats per residue; {last.nats / math.log(2):.3f} bits, perplexity {math.exp(min(last.nats, 700)):.4g}"
    found = [
        ("held-out bound", f"{last.nats:.4f}{error}", more),
        ("best bound", f"{best.nats:.4f}", f"at step {best.step:,}"),
    ]
    levels = bound_levels(contents)
    if levels:
        name, value = levels[-1].name, levels[-1].y  # the exact value where it is known, else the letters
        side = "above" if last.nats > value else "below"
        found.append((f"to compare: {name}", f"{value:.4f}", f"the bound is {abs(last.nats - value):.4f} {side} it"))
    return found


def _large(value: int) -> str:
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,}"


def alarms(contents: Contents) -> str:
    """Each rule and cause once: the first time, how often, what happened, what to do."""
    found = contents.verdict.alarms
    if not found:
        return "<p>No rule has fired.</p>"
    heads = ("step", "severity and cause", "what happened", "what to do")
    rows = "".join(_alarm_row(same) for same in _alike(found))
    return (
        '<table class="cards"><thead><tr>'
        + "".join(f"<th scope=col>{head}</th>" for head in heads)
        + f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _alike(found: Sequence[Alarm]) -> list[list[Alarm]]:
    """Alarms of the same rule and cause together, in the order in which they first fired."""

    def first(alarm: Alarm) -> int:
        return next(i for i, other in enumerate(found) if (other.rule, other.cause) == (alarm.rule, alarm.cause))

    return [list(same) for _, same in groupby(sorted(found, key=first), key=first)]


def _alarm_row(same: list[Alarm]) -> str:
    worst = max(same, key=lambda alarm: list(_TONES).index(alarm.severity))
    last = same[-1]
    tone = _TONES[worst.severity]
    times = f"<br><small>{len(same):,} times, last at step {last.step:,}</small>" if len(same) > 1 else ""
    values = ", ".join(f"{name} {value:.4g}" for name, value in last.numbers.items())
    message = last.message[:1].upper() + last.message[1:]
    what = f"{escape(message)}.<br><small>{escape(last.rule)}: {escape(values)}</small>"
    remedies = "".join(f"<li>{escape(remedy)}</li>" for remedy in last.remedies)
    cells = {
        "step": f"{same[0].step:,}{times}",
        "severity and cause": f'<span class="tag {tone}">{worst.severity}</span> {escape(last.cause)}',
        "what happened": what,
        "what to do": f"<ul>{remedies}</ul>" if remedies else "nothing",
    }
    return "<tr>" + "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in cells.items()) + "</tr>"


def samples(contents: Contents) -> str:
    """The first sequences of each file."""
    files = [file for file in contents.samples if file.samples]
    if not files:
        return "<p>There are no samples in this run. <code>sedd sample</code> makes some.</p>"
    legend = ""
    if any(file.protein for file in files):
        legend = (
            '<p class="small"><code><b class=h>hydrophobic</b> <b class=a>aromatic</b> <b class=p>polar</b> '
            "<b class=c>charged</b></code></p>"
        )
    return legend + "".join(_sample_file(file) for file in files)


def _sample_file(file: SampleFile) -> str:
    title = f"Step {file.step:,}" if file.step is not None else escape(file.name)
    parts = [f"<h3>{title}</h3>"]
    for sample in file.samples:
        text = _residues(sample.text) if file.protein else escape(sample.text)
        more = f"<small> … {sample.more:,} more</small>" if sample.more else ""
        parts.append(f'<p><small>{escape(sample.title)}</small><code class="residues">{text}{more}</code></p>')
    return "".join(parts)


def _residues(text: str) -> str:
    """Coloured by class, neighbours of one class together."""
    return "".join(
        f"<b class={name}>{run}</b>" if name else run
        for name, run in ((key, escape("".join(same))) for key, same in groupby(text, key=_CLASS_OF.get))
    )


def comparable(contents: Contents) -> str:
    """What may be set beside another run."""
    noise = f" (here {contents.config.noise.sigma_max:g})" if contents.config is not None else ""
    return (
        "<p><strong>Compare runs by the held-out bound only</strong>, on the same held-out sequences. It is the same "
        "quantity for every run, whatever its curriculum and noise. Where the noise of one run stops early, compare "
        "over the mask rates that both were trained on; <code>sedd compare</code> does that.</p>"
        f"<p>Training losses under another <code>noise.sigma_max</code>{noise} or another difficulty are other units: "
        "a smaller <code>sigma_max</code> lowers the loss even of a model that knows nothing. Within this run, compare "
        "losses at different steps only after the difficulty was taken out (above).</p>"
    )


def configuration(contents: Contents) -> str:
    """Advice, and `config.yaml` as it is."""
    if contents.config_text is None:
        return "<p>There is no config.yaml in this run.</p>"
    advice = contents.config.advice() if contents.config is not None and contents.curriculum_known else []
    listed = "".join(f"<li>{escape(each)}</li>" for each in advice)
    note = f'<div class="note"><strong>Worth knowing</strong><ul>{listed}</ul></div>' if listed else ""
    return f"{note}<details><summary>config.yaml</summary><pre>{escape(contents.config_text)}</pre></details>"


def environment(contents: Contents) -> str:
    """Versions and hardware."""
    if not contents.environment:
        return "<p>The environment was not recorded.</p>"
    rows = "".join(
        f"<tr><th scope=row>{escape(key)}</th><td>{escape(value)}</td></tr>"
        for key, value in contents.environment.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"
