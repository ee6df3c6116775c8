"""Stages: one module per verb, found by its path."""

NO_STAGES = (
    "answers",
    "base",
    "comparisons",
    "heads",
    "import_options",
    "imports",
    "pictures",
    "published",
    "references",
    "rehearsal",
    "starts",
)
"""Modules beside the stages."""
