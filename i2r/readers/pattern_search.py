"""A user's regular expression searched for in names, for a bounded time."""

import re
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress

from i2r.errors import InputError
from i2r.readers.sheets import join_well

# What a pattern's groups may be called.
GROUPS = ("plate", "well", "row", "column", "field", "channel", "z", "time")
# For one name; patterns that people write take microseconds.
SEARCH_S = 2.0
# Searches what it is sent, line by line, and dies of a name that takes too long: the timer's signal
# ends a process that has no handler for it. Each line is in Python's notation, in ASCII.
_TRIAL = """
import ast, re, signal, sys
pattern, flags, seconds = ast.literal_eval(sys.stdin.readline())
pattern = re.compile(pattern, flags)
for line in sys.stdin:
    path = ast.literal_eval(line)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    pattern.search(path)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(flush=True)
"""


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a user's pattern.

    Raises
    ------
    InputError
        If it is not a regular expression.
    """
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"pattern '{text}': no regular expression ({error}). Write a point as '\\\\.'."
        ) from error


def read_place(match: re.Match[str]) -> dict[str, str]:
    """Give what the groups of a match say of a plane, empty text for nothing.

    Returns
    -------
    dict
        By the names of `GROUPS`; the well is that of row and column where it has no group.
    """
    values = dict.fromkeys(GROUPS, "")
    values |= {name: text or "" for name, text in match.groupdict().items()}
    values["well"] = values["well"] or join_well(values["row"], values["column"])
    return values


def search_name(pattern: re.Pattern[str], path: str) -> re.Match[str] | None:
    """Search a path for a pattern, for no longer than `SEARCH_S`.

    Nested repeats such as ``(x+)+y`` may take longer than anybody waits. A search can be stopped in
    a process's main thread alone; in other threads another process tries each path first.

    Raises
    ------
    InputError
        If it takes longer.
    """
    if threading.current_thread() is not threading.main_thread():
        _Trial.of(pattern).check(path)
        return pattern.search(path)
    before = signal.signal(signal.SIGVTALRM, _stop_search)
    # Of this process's own time, so that a busy machine doesn't matter.
    signal.setitimer(signal.ITIMER_VIRTUAL, SEARCH_S)
    try:
        return pattern.search(path)
    except TimeoutError as error:
        raise _too_long(pattern, path) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class _Trial:
    """A process that searches for one pattern; one for each thread, and for its last pattern."""

    _own = threading.local()

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TRIAL],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="ascii",
        )  # fmt: skip
        # When the thread is over, or this process.
        self.close = weakref.finalize(self, _end, self._process)
        self._send((pattern.pattern, pattern.flags, SEARCH_S))

    @classmethod
    def of(cls, pattern: re.Pattern[str]) -> "_Trial":
        """Give this thread's process for a pattern."""
        known: _Trial | None = getattr(cls._own, "trial", None)
        if known is None or known.pattern != pattern or known._process.poll() is not None:
            if known is not None:
                known.close()
            known = cls._own.trial = cls(pattern)
        return known

    def check(self, path: str) -> None:
        """Search a path there.

        Raises
        ------
        InputError
            If the process died of it.
        """
        assert self._process.stdout is not None
        try:
            self._send(path)
            answered = bool(self._process.stdout.readline())
        except BrokenPipeError:
            answered = False
        if not answered:
            self.close()
            raise _too_long(self.pattern, path)

    def _send(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(ascii(value) + "\n")
        self._process.stdin.flush()


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process that may still wait for a line, or search."""
    process.kill()
    with suppress(BrokenPipeError):  # of a line that nobody took
        process.communicate()


def _stop_search(number: int, frame: object) -> None:
    raise TimeoutError


def _too_long(pattern: re.Pattern[str], path: str) -> InputError:
    return InputError(
        f"pattern '{pattern.pattern}': still at the name {path[:80]!r} after {SEARCH_S:g} s, "
        "expected microseconds. Write it without a repeat inside a repeat, such as (x+)+."
    )
