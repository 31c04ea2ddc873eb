"""Faults planted in the core rooms, one at a time: `python -m tests.planted_faults` shows which test catches each."""
