"""Learn: batches, the one training loop, CMA-ES."""
