"""`sedd export`: a trained model as a folder to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sedd import __version__
from sedd.cli.app import RunPath, Weights, Which, app
from sedd.cli.console import out, working
from sedd.errors import CheckpointError, ConfigError
from sedd.report.model_card import adapter_card, model_card, portable_network
from sedd.runs.bound_record import BoundRecord
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.directory import RunDirectory
from sedd.runs.exported import CARD, NETWORK, Exported, check_target, is_exported, write, write_folder
from sedd.runs.finding import find
from sedd.runs.hub import local, push
from sedd.runs.lineage import KEY, lineage_of
from sedd.runs.lora import adapter_files, merged


@app.command()
def export(
    run: RunPath,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must not exist.")],
    weights: Weights = "ema",
    which: Which = "best",
    merge: Annotated[
        bool, typer.Option("--merge", help="Of a run with model.lora: merge the low-rank changes into the weights.")
    ] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Of a run with model.lora: the changes alone, in the format of PEFT.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="With --adapter: the model that it changes, such as hf://user/name.")
    ] = None,
    upload: Annotated[
        str | None, typer.Option("--push", metavar="USER/NAME", help="Upload the folder to the Hugging Face Hub too.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: a public repository.")] = False,
) -> None:
    """Write a trained model as a folder to share: weights, configuration, alphabet and a model card."""
    check_target(folder)
    if merge and adapter:
        raise ConfigError("--merge writes the complete model and --adapter only its changes; choose one of them")
    path = local(run)
    if is_exported(path):
        raise CheckpointError("is an exported model already; copy the folder", file=path)
    with working(f"reading {run}"):
        found, saved = find(path, which)
    name = folder.resolve().name
    if adapter:
        write_folder(folder, adapter_files(saved, weights, base=base) | {CARD: adapter_card(saved, name).encode()})
    else:
        exported = Exported(merged(saved) if merge else saved, weights, _lineage(found, saved))
        card, network = model_card(exported, _bound(found, exported), name), portable_network(exported)
        write(folder, exported, {CARD: card.encode()} | ({NETWORK: network.encode()} if network else {}))
    step = int(saved.state["train"]["step"])
    out.print(f"{folder}: {weights} weights of step {step:,}. Load it: sedd.load({str(folder)!r})", markup=False)
    if upload is not None:
        with working(f"uploading {folder}"):
            address = push(folder, upload, private=not public)
        out.print(f"Uploaded. Load it: sedd.load({address!r})", markup=False)


def _lineage(found: Path, saved: Checkpoint) -> dict[str, object]:
    imported = saved.state.get("imported")
    return {
        "run": saved.run,
        "checkpoint": found.name,
        "imported_from": Path(imported["file"]).name if imported else None,
        "imported_sha256": imported["sha256"] if imported else None,
        KEY: [ancestor.to_dict() for ancestor in lineage_of(saved.state)],
        "sedd": __version__,
    }


def _bound(found: Path, exported: Exported) -> BoundRecord | None:
    """The held-out bound of these weights, if the run has measured it; evaluations use the averaged weights."""
    run = RunDirectory(found.parent.parent)
    if exported.weights != "ema" or not run.metrics_file.exists() or found.parent != run.checkpoints:
        return None
    return next((bound for bound in run.history().bounds if bound.step == exported.step), None)
