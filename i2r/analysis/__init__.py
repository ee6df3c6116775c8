"""What computes tables of results from tables and arrays, without dask."""
