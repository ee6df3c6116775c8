"""The command line: ``i2r COMMAND``. Nothing heavy is imported before a command needs it."""

from i2r.cli.group import main

__all__ = ["main"]
