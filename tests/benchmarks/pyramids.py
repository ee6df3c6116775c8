"""What overviews cost: conversion of a field with and without, in pairs.

``python -m tests.benchmarks.pyramids``; processor time of one thread, warm files. The bar is 15 %.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from i2r.store import images
from tests.benchmarks.checksums import compare
from tests.benchmarks.conversion import convert, write_sources

BAR_PERCENT = 15.0


def main() -> None:
    """Print what the overview costs, and what halves down to 256 px would."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (rows,) = write_sources(folder, n_fields=1)

        def convert_with(choose: Callable[[tuple[int, int]], list[int]]) -> Callable[[], None]:
            def run() -> None:
                with patch.object(images, "choose_factors", choose):
                    convert(rows, folder / "field")

            return run

        bare = convert_with(lambda shape: [1])
        cost = compare(convert_with(images.choose_factors), bare, rounds=25)
        halves = compare(convert_with(images.halve), bare, rounds=25)
    print(f"conversion with an overview: {cost:+.2f} % (bar {BAR_PERCENT:g} %)")
    print(f"with halves down to 256 px: {halves:+.2f} %")
    raise SystemExit(cost > BAR_PERCENT)


if __name__ == "__main__":
    main()
