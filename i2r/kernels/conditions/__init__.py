"""Which conditions changed their wells: noise, positions, statistics and the test."""

from i2r.kernels.conditions.covariates import explain_by
from i2r.kernels.conditions.fields import find_displaced
from i2r.kernels.conditions.noise import Wells
from i2r.kernels.conditions.testing import FOLDS, Changes, compare_conditions

__all__ = ["FOLDS", "Changes", "Wells", "compare_conditions", "explain_by", "find_displaced"]
