"""Generating sequences."""
