"""Stages: one module per verb, found by its path."""

NO_STAGES = ("answers", "base", "comparisons", "pictures", "published", "references", "starts")
"""Modules beside the stages."""
