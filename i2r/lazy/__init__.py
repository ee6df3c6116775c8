"""Lazy builders: dask collections in, dask collections out; nothing is computed or read here."""
