"""``python -m i2r`` is ``i2r``."""

from i2r.cli import main

main()
