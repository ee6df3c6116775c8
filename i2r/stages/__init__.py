"""Stages: one module per verb, found by its path."""

NO_STAGES = ("answers", "base", "pictures", "references")
"""Modules beside the stages."""
