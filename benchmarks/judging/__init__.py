"""Cases whose truth is known from how they are made, and tables of how well the verdicts do on them.

The cases are made without the judge: nothing here imports its hypotheses, rules or thresholds.
"""
