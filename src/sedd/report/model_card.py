"""The README of an exported model: bound, data, lineage, and how to load it."""

from __future__ import annotations

import math
from importlib.resources import files

from sedd.runs.bound_record import BoundRecord
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.exported import Exported, without_paths
from sedd.runs.lineage import KEY as LINEAGE
from sedd.runs.lineage import lineage_of

LOAD = """```python
import sedd

model = sedd.load("{name}")
print(model.sample(3))
print(model.nelbo(model.sample(3)).nats)  # nats per residue
```"""


PLAIN = """In the folder, with torch and safetensors alone:

```python
import json
import torch
import network

symbols = json.load(open("alphabet.json"))["symbols"]
tokens = torch.zeros(1, 50, dtype=torch.long)  # ids of symbols{mask}
output = network.load(".")(tokens, sigma=torch.tensor([6.9]))
print(dict(zip(symbols, output[0, 0].tolist())))
```

{meaning}"""
MEANING = {
    "normalised": "The output has the logits of the original symbol at each position.",
    "score": "The output has the log-scores of SEDD, before `scale_by_sigma`.",
}


def portable_network(exported: Exported) -> str | None:
    """The source of `network.py`; None for a network that is not the built-in one."""
    names = exported.checkpoint.tensors[exported.weights].keys()
    if not {"vocab_embed.embedding", "output_layer.linear.weight"} <= names:
        return None
    return (files("sedd.report") / "portable_network.py").read_text(encoding="utf-8")


def model_card(exported: Exported, bound: BoundRecord | None, name: str) -> str:
    """The card in Markdown; `bound` is the held-out bound of these weights, None where it was not measured."""
    sections = {
        "Held-out bound": _bound(bound),
        "Model": _model(exported),
        "Data": _data(exported),
        "Lineage": _lineage(exported),
        "Load it": _load(exported, name),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\nlibrary_name: sedd\ntags: [discrete-diffusion, sedd]\n---\n\n# {name}\n\n{body}\n"


def adapter_card(saved: Checkpoint, name: str) -> str:
    """The card of an adapter in Markdown: what it changes, and how to load it."""
    parent = lineage_of(without_paths(saved.state))[0]
    lora = saved.config["model"]["lora"]
    text = (
        f"Low-rank changes (LoRA, rank {lora['rank']}, alpha {lora['alpha']:g}) of a SEDD model, after "
        f"{int(saved.state['train']['step']):,} optimizer steps. They belong to {parent}.\n\nWith the library "
        "`sedd`, where `base_model_name_or_path` of `adapter_config.json` names that model:\n\n"
        f"{LOAD.format(name=name)}"
    )
    return f"---\nlibrary_name: sedd\ntags: [discrete-diffusion, sedd, lora]\n---\n\n# {name}\n\n{text}\n"


def _load(exported: Exported, name: str) -> str:
    text = f"{_needed(exported)}, from the folder that holds this one:\n\n{LOAD.format(name=name)}"
    if portable_network(exported) is None:
        return text
    return f"{text}\n\n{_plain(exported)}"


def _plain(exported: Exported) -> str:
    mask = "; MASK is len(symbols)" if exported.config["graph"]["type"] == "absorb" else ""
    return PLAIN.format(meaning=MEANING[exported.config["model"]["head"]], mask=mask)


def _bound(bound: BoundRecord | None) -> str:
    if bound is None or not math.isfinite(bound.nats):
        return "Not measured by sedd for these weights."
    known = math.isfinite(bound.half_width)
    half = f" ± {bound.half_width:.4f} (half of a 95 % interval)" if known else ""
    count = "" if bound.sequences is None else f"{bound.sequences:,} "
    return f"{bound.nats:.4f}{half} nats per residue: an upper bound on -log p on {count}held-out sequences."


def _model(exported: Exported) -> str:
    config = exported.config
    model, alphabet = config["model"], exported.checkpoint.state["alphabet"]
    parameters = sum(tensor.numel() for tensor in exported.checkpoint.tensors[exported.weights].values())
    kind = "averaged" if exported.weights == "ema" else "raw"
    return (
        f"SEDD, network `{model.get('type', 'transformer')}`, graph `{config['graph']['type']}`, noise "
        f"`{config['noise']['type']}` to sigma {config['noise']['sigma_max']:.4g}, head `{model['head']}`. "
        f"{parameters:,} numbers in {kind} weights, after {exported.step:,} optimizer steps. At most "
        f"{model['length']:,} residues. Alphabet `{alphabet['name']}` of {len(alphabet['symbols']):,} symbols, in "
        "`alphabet.json`."
    )


def _needed(exported: Exported) -> str:
    """What has to be installed: the library, and the plugins that the network and the noise come from."""
    plugins = exported.checkpoint.state.get("plugins") or {}
    needed = [source for key, source in plugins.items() if key.startswith(("model.", "noise."))]
    return "With the library `sedd`" + "".join(f" and the plugin `{source}`" for source in needed)


def _data(exported: Exported) -> str:
    known = exported.checkpoint.state["data"]
    if known["train"] is None:
        return "What the weights were trained on is not known."
    return "\n".join(
        f"* {title}: {known[part]['sequences']:,} sequences, identity `{known[part]['identity'][:16]}`"
        for title, part in ((f"trained on `{exported.config['data']['train']}`", "train"), ("held out", "valid"))
    )


def _lineage(exported: Exported) -> str:
    lines = [f"{key}: `{value}`" for key, value in exported.lineage.items() if value is not None and key != LINEAGE]
    lines += [f"fine-tuned from: {ancestor}" for ancestor in lineage_of(without_paths(exported.lineage))]
    return "\n".join(f"* {line}" for line in lines)
