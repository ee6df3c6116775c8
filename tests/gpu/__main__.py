"""``python -m tests.gpu``: see `tests.gpu.rehearsal`."""

from tests.gpu.rehearsal import main

main()
