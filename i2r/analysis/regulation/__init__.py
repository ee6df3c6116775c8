"""Interactome, gene embeddings, maps and predictions, as tables."""
