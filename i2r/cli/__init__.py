"""The command line: ``i2r COMMAND``. Nothing heavy is imported before a command needs it."""

import sys

from i2r.surroundings import name_shadow

try:
    from i2r.cli.group import main
except Exception as error:
    if not (shadow := name_shadow(error)):
        raise
    sys.stderr.write(f"error: {shadow}\n")
    sys.exit(2)

__all__ = ["main"]
