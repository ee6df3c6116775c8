"""Pipelines: the YAML file, the units of work, and the loop that runs them."""
