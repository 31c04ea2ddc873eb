"""Weights that other programs trained: one file per layout, and what they have in common."""
