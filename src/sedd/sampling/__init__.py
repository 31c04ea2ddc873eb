"""Generating sequences: from nothing, from a template, or from a sequence of which a share is redrawn."""
