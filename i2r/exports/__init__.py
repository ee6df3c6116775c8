"""What an experiment found, in the formats of other tools; one module per format."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a name to write under; what is there at the end gets the target's name.

    After an error nothing is left, and the target is what it was before. A file is replaced in one
    step, a folder is removed first.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        yield partial
        if partial.is_dir() and target.is_dir():
            shutil.rmtree(target)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)
