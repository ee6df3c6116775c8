"""Stages: one module per verb, found by its path."""

NO_STAGES = (
    "answers",
    "base",
    "comparisons",
    "heads",
    "imports",
    "pictures",
    "published",
    "references",
    "rehearsal",
    "starts",
)
"""Modules beside the stages."""
