"""The store: the only code that knows paths, Zarr, Parquet and OME-NGFF."""
