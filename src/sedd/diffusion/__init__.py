"""The diffusion: forward process, noise, parametrization, training loss."""
