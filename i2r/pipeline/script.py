"""Scripts that start worker processes: each worker imports the script again."""

import ast
import multiprocessing.process
import sys
from pathlib import Path
from types import FrameType

from i2r.errors import InputError

ADVICE = (
    "Put the call under 'if __name__ == \"__main__\":', or give cluster='none' to run in this "
    "process."
)


def check_guard() -> None:
    """Refuse to start workers from the top of a script that has no ``__main__`` guard.

    A worker on this machine is a new process that imports the script first, and would start a
    run, with workers, itself.

    Raises
    ------
    InputError
        If the script of this process would do so; in one of its workers `SystemExit`, silently.
    """
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        # A worker that is importing the script. Whoever started it says what is wrong.
        sys.exit(1)
    frame = find_script_frame(sys._getframe())
    if frame is None:
        return
    path = Path(frame.f_code.co_filename)
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    if is_unguarded(tree, frame.f_lineno):
        raise InputError(
            f"{path.name} line {frame.f_lineno}: i2r.run is called while the script is imported, "
            f"which every worker process does again. {ADVICE}"
        )


def find_script_frame(frame: FrameType | None) -> FrameType | None:
    """Find the top level of the script that this process runs, among the callers; or None."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            # An interpreter's own input, and 'python -c', are not imported again.
            return frame if frame.f_globals.get("__file__") else None
        frame = frame.f_back
    return None


def is_unguarded(tree: ast.Module, line: int) -> bool:
    """Tell whether a line is reached when a script is imported, not run.

    Parameters
    ----------
    tree
        The script.
    line
        A line of it that is being executed, from 1.

    Returns
    -------
    bool
        False where an ``if`` that asks for ``__name__`` stands around the line or before it:
        what it does there is the script's own matter.
    """
    for node in tree.body:
        if node.lineno > line:
            break
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
            return False
    return True
