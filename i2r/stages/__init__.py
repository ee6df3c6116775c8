"""Stages: one module or package per verb, found by its path."""

import pkgutil
from pathlib import Path


def list_stage_files() -> dict[str, Path]:
    """Find the source file of every stage that ships with i2r, by its verb; imports none.

    A module or package here is a stage if it says ``stage: Literal["<its own name>"]``; whatever
    else lies beside the stages serves several of them.
    """
    found = {}
    for module in pkgutil.iter_modules(__path__):
        path = Path(__path__[0]) / module.name
        path = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
        if f'stage: Literal["{module.name}"]' in path.read_text(encoding="utf-8"):
            found[module.name] = path
    return found
