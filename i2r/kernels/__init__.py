"""Kernels: pure functions on arrays (numpy, scipy, numba); no files, no scheduler, no torch."""
