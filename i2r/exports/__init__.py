"""What an experiment found, in the formats of other tools; one module per format."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a name to write under; what is there at the end gets the target's name, in one step.

    After an error nothing is left, and the target is what it was before.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
