"""Evidence on runs: one symptom per file, each a pure function of the facts of a run."""
