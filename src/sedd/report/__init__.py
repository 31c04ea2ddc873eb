"""The HTML report of a run, and the plots of `forecast`, `compare` and `quality`."""
