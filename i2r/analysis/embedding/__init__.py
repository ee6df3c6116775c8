"""Embeddings of nuclei: what encoders are trained on, shown and worth."""
