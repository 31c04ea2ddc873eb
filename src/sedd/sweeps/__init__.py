"""Sweeps: which settings have the lowest held-out bound, at equal residues, and how sure that is."""
