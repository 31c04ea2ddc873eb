"""Run files of other trainers (SEDD, PLS, MDLM, D3-DNA): recognised by their keys, and converted to ours.

`dialects/` has one file per trainer, found by itself: what tells its files, one table of its keys, and what its program
does whatever the file says. `convert` is the one converter; `source` reads a file with what it refers to.
"""
