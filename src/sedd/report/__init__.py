"""The HTML report of a run, and figures."""
