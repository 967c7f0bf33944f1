"""How a model is trained: batches, kept features, the epoch loop and its display."""
