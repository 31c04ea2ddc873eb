"""Sweeps: which settings have the lowest held-out bound, at equal residues, with intervals over seeds."""
