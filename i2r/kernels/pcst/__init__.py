"""Prize-collecting Steiner trees: the part of a network that connects what is worth it."""

from i2r.kernels.pcst.solver import PCSTResult, bound_between, solve_pcst

__all__ = ["PCSTResult", "bound_between", "solve_pcst"]
