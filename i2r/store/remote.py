"""Another machine's files: their size and time, and what goes wrong, in one line each."""

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from i2r.errors import I2RError, InputError, RefusedError
from i2r.store.urls import without_secrets

# By name: botocore and aiohttp are there only where such places are used.
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
_NO_ANSWER = {
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ClientConnectionError",
    "HTTPClientError", "ServerTimeoutError", "gaierror",
}  # fmt: skip


# What s3fs makes of answers such as SlowDown and InternalError.
_BUSY = (None, errno.EBUSY, errno.EIO, errno.EAGAIN)


class Stat(NamedTuple):
    """What tells one version of a file from another."""

    size_bytes: int
    mtime_ns: int


def read_stat(info: dict[str, Any]) -> Stat:
    """Read what fsspec says of a file; see `i2r.store.files.stat`."""
    for key in ("ETag", "etag", "mtime", "LastModified", "updated", "created"):
        if (value := info.get(key)) is not None:
            text = value.isoformat() if isinstance(value, datetime) else str(value)
            digest = hashlib.sha256(text.encode()).digest()
            return Stat(int(info["size"] or 0), int.from_bytes(digest[:8], "little") >> 1)
    return Stat(int(info["size"] or 0), 0)


@contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn what a remote file system raises into one line that says what to do.

    Files that aren't there stay what they are: `OSError`.

    Raises
    ------
    InputError
        Without credentials, without the package that a scheme needs, for a scheme that nobody
        knows, and for what the place can't do, such as listing.
    PermissionError
        If the place refuses; it names the URL.
    ConnectionError
        If nothing answers, or says that it can't now: another try may succeed.
    """
    try:
        yield
    except (I2RError, FileExistsError, IsADirectoryError, NotADirectoryError):
        raise
    except FileNotFoundError as error:
        # fsspec says of every failure at HTTP that there is no such file.
        cause = error.__cause__
        if not isinstance(cause, Exception) or not (found := _explain(cause, url)):
            raise
        raise found from error
    except Exception as error:
        if found := _explain(error, url) or _explain_place(error, url):
            raise found from error
        raise


def _explain(error: Exception, url: str) -> Exception | None:
    """Say what an answer, or the lack of one, means; None for other errors."""
    where = without_secrets(url)
    root = "/".join(where.split("/")[:3])
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status", 0) if "ClientResponseError" in kinds else 0
    if isinstance(error, PermissionError) or status in (401, 403):
        return PermissionError(errno.EACCES, f"permission denied ({_first_line(error)})", where)
    if kinds & _NO_CREDENTIALS:
        return InputError(
            f"{root}: no credentials found. Give them as for the 'aws' command; public buckets "
            'need {"s3": {"anon": true}} in fsspec\'s configuration '
            "(~/.config/fsspec/conf.json, or FSSPEC_S3_ANON=true)."
        )
    if isinstance(error, RecursionError):  # botocore follows such an answer for ever
        return InputError(
            f"{root}: the answer leads to itself. Set the bucket's region (AWS_DEFAULT_REGION) "
            "and its address (AWS_ENDPOINT_URL)."
        )
    is_busy = status == 429 or status >= 500
    if is_busy or kinds & _NO_ANSWER or isinstance(error, (ConnectionError, TimeoutError)):
        return ConnectionError(
            f"{root}: no answer ({_first_line(error)}). Check the address and the network, "
            "and try again."
        )
    return None


def _explain_place(error: Exception, url: str) -> Exception | None:
    """Say what a place, or this installation, can't do; None for other errors."""
    where = without_secrets(url)
    scheme = where.partition("://")[0]
    if isinstance(error, ImportError):
        return InputError(
            f"{where}: reading {scheme}:// needs a package more ({_first_line(error)}). Install it."
        )
    if isinstance(error, NotImplementedError) or hasattr(error, "status"):
        return InputError(f"{where}: files can't be listed there. Give a CSV table of the files.")
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return InputError(
            f"{where}: {_first_line(error)}, expected a folder, s3:// or https://. Correct it."
        )
    if isinstance(error, OSError) and error.errno in _BUSY:
        root = "/".join(where.split("/")[:3])
        return ConnectionError(f"{root}: can't answer now ({_first_line(error)}). Try again later.")
    return None


class ExplainedSystem:
    """A file system of fsspec whose methods explain what goes wrong."""

    def __init__(self, system: Any, url: str) -> None:
        self._system, self._url = system, url

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method of the file system."""
        method = getattr(self._system, name)

        def call(*args: Any, **options: Any) -> Any:
            try:
                with explain_errors(self._url):
                    return method(*args, **options)
            except PermissionError as error:
                if name not in ("ls", "find"):  # of a file: it can't be read
                    raise
                raise RefusedError(
                    f"{without_secrets(self._url)}: may not be listed: {error.strerror}. Ask for "
                    "the permission, correct the name, or give a CSV table of the files."
                ) from error
            except FileNotFoundError:
                if name != "find":
                    raise
                return {}

        return call


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")[:200]
