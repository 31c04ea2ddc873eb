"""What other programs wrote, as runs of sedd."""
