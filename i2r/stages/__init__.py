"""Stages: one module per verb, found by its path."""

NO_STAGES = ("base", "pictures")
"""Modules beside the stages."""
