"""Stages: one module or package per verb, found by its path."""

import pkgutil
from pathlib import Path


def list_stage_files() -> dict[str, Path]:
    """Find the module, or the package's first file, of every stage of i2r by its verb.

    A module or package here is a stage if it says ``stage: Literal["<its own name>"]``; whatever
    else lies beside the stages serves several of them. Nothing is imported.
    """
    found = {}
    for folder, module in ((f, m) for f in __path__ for m in pkgutil.iter_modules([f])):
        path = Path(folder) / module.name
        sources = sorted(path.glob("*.py")) if module.ispkg else [path.with_suffix(".py")]
        says = f'stage: Literal["{module.name}"]'
        if any(says in source.read_text(encoding="utf-8") for source in sources):
            found[module.name] = sources[0]
    return found
