"""Training in several processes: process groups, parallelism strategies, supervision."""
