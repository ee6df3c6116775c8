"""Stages: one module per verb, found by its path."""
