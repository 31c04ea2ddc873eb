"""The scoreboard: faults of every kind, by the thousand; nothing may be lost, nothing silent, and nothing a traceback.

`make reliability` runs all rows and writes `docs/reliability.md`. A row is a function of a scale, a seed and a folder
to work in, which returns a `Result`; rows of one kind share a file, and `rows.py` lists all.
"""
