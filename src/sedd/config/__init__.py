"""The typed configuration of a run, from YAML, presets and overrides."""
