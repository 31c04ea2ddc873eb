"""The README of an exported model: bound, data, lineage, and how to load it."""

from __future__ import annotations

import math

from sedd.runs.bound_record import BoundRecord
from sedd.runs.exported import Exported

LOAD = """```python
import sedd

model = sedd.load("{name}")
print(model.sample(3))
print(model.nelbo(model.sample(3)).nats)  # nats per residue
```"""


def model_card(exported: Exported, bound: BoundRecord | None, name: str) -> str:
    """The card in Markdown; `bound` is the held-out bound of these weights, None where it was not measured."""
    sections = {
        "Held-out bound": _bound(bound),
        "Model": _model(exported),
        "Data": _data(exported),
        "Lineage": "\n".join(f"* {key}: `{value}`" for key, value in exported.lineage.items() if value is not None),
        "Load it": f"{_needed(exported)}, from the folder that holds this one:\n\n{LOAD.format(name=name)}",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\nlibrary_name: sedd\ntags: [discrete-diffusion, sedd]\n---\n\n# {name}\n\n{body}\n"


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
