"""A run directory: its metrics, checkpoints and state."""
