"""Faults in the layers, the validation and the advice of a configuration."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

LAYERS, CONFIG, RUN_FILE = "config/layers.py", "config/config.py", "config/run_file.py"

FAULTS = (
    Fault("earlier layers win", LAYERS, "value = merged(old, value)", "value = merged(value, old)"),
    Fault(
        "a section replaces the whole",
        LAYERS,
        "if isinstance(old, Mapping) and isinstance(value, Mapping) and key not in ATOMIC_KEYS:",
        "if False:",
    ),
    Fault(
        "defaults of the part before",
        LAYERS,
        'model_dump(mode="json", exclude_unset=True, include',
        'model_dump(mode="json", include',
    ),
    Fault("atomic keys merged", LAYERS, 'ATOMIC_KEYS = {"substitute", "alphabet", "own"}', "ATOMIC_KEYS = set[str]()"),
    Fault(
        "index of the device lost",
        LAYERS,
        '{**device, "type": name, "index": int(number)}',
        '{**device, "type": name}',
        ("test_devices.py",),
    ),
    Fault(
        "overrides in the wrong order",
        RUN_FILE,
        "for assignment in overrides:",
        "for assignment in reversed(overrides):",
    ),
    Fault(
        "sections not brought to the long form", RUN_FILE, "merged(data, long_form(sections))", "merged(data, sections)"
    ),
    Fault(
        "value cut at the second equals sign",
        RUN_FILE,
        'path, equals, text = assignment.partition("=")',
        'path, equals, text = assignment.rpartition("=")',
    ),
    Fault("names read as YAML", RUN_FILE, "if path in NAMES and not", "if path not in NAMES and not"),
    Fault("advice the wrong way round", CONFIG, "if kept > self.GENERATES_BELOW:", "if kept < self.GENERATES_BELOW:"),
    Fault(
        "ramp that ends with the run",
        CONFIG,
        "checked_difficulty(curriculum, n_iters - 1) < 1.0",
        "checked_difficulty(curriculum, n_iters - 2) < 1.0",
    ),
    Fault(
        "replace changes the original's parts",
        CONFIG,
        "merged(self.to_dict(parts=True), long_form(changes))",
        "merged(self.to_dict(), changes)",
    ),
)

ROOM = Room("configuration", ("config/test_config.py", "config/test_run_file.py", "config/test_errors.py"), FAULTS)
