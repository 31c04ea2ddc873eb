"""From FASTA and text files to a token store."""
