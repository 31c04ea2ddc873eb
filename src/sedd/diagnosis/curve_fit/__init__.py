"""The judge of the loss curves of other trainers: hypotheses that compete for the explanation of steps and losses."""
