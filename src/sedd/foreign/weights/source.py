"""Which layout a path has, and its weights."""

from __future__ import annotations

from pathlib import Path

from sedd.errors import CheckpointError, ConfigError
from sedd.foreign.weights import mdlm_hub, plugin_hub, sedd_hub, sedd_run
from sedd.foreign.weights.given import Given
from sedd.foreign.weights.published import Published

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
EXPECTED = (
    "a hub folder of SEDD, MDLM or a plugin's network (config.json beside model.safetensors or pytorch_model.bin), or "
    "a training directory of SEDD or PLS (.hydra/config.yaml, checkpoints-meta/checkpoint.pth)"
)


def open_source(path: Path, weights: str | None = None) -> Published:
    """The weights under `path`: a folder, or a file of weights in one.

    Args:
        path: see `EXPECTED`.
        weights: of a training directory: `ema` (by default) or `raw`.

    Raises:
        CheckpointError: if it is none of the known layouts, damaged, or cannot be expressed.
        ConfigError: if `weights` is something else, or there is no choice.
    """
    if weights not in (None, "ema", "raw"):
        raise ConfigError(f"weights={weights!r}: expected 'ema' or 'raw'")
    folder, file = _folder_and_file(path)
    if (folder / sedd_run.CONFIG).is_file():
        given = Given.read(folder / sedd_run.CONFIG)
        return sedd_run.published(given, file or sedd_run.newest(folder), weights or "ema")
    if (folder / "config.json").is_file():
        if weights is not None:
            raise ConfigError(f"{folder} has a single set of weights; leave out --weights {weights}")
        return _of_hub(Given.read(folder / "config.json"), file or _hub_file(folder))
    if (folder / "checkpoints").is_dir() and (folder / "config.yaml").is_file():
        raise CheckpointError("a run of sedd, which needs no import; name it where a run is expected", file=path)
    raise CheckpointError(f"no layout that is known; expected {EXPECTED}", file=path)


def _folder_and_file(path: Path) -> tuple[Path, Path | None]:
    if path.is_dir():
        return path, None
    if not path.exists():
        raise CheckpointError(f"does not exist; expected {EXPECTED}", file=path)
    above = path.parent.parent
    return (above if (above / sedd_run.CONFIG).is_file() else path.parent), path


def _of_hub(given: Given, file: Path) -> Published:
    if mdlm_hub.recognises(given):
        return mdlm_hub.published(given, file)
    if sedd_hub.recognises(given):
        return sedd_hub.published(given, file)
    if (found := plugin_hub.published(given, file)) is not None:
        return found
    kind = f" (model_type: {given.data['model_type']!s:.40})" if "model_type" in given.data else ""
    raise CheckpointError(
        f"the configuration{kind} is neither that of SEDD (sections graph, noise, model) nor that of MDLM (model_type: "
        "mdlm), and no installed network takes it (`sedd plugins`); for ESM-2 and DPLM: pip install "
        "plugins/sedd-network-esm in the clone of sedd",
        file=given.file,
    )


def _hub_file(folder: Path) -> Path:
    for name in HUB_FILES:
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(f"has no weights; expected {' or '.join(HUB_FILES)} beside config.json", file=folder)
