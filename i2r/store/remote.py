"""What goes wrong between here and another machine's files, in one line each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from i2r.errors import I2RError, InputError
from i2r.store.urls import without_secrets

# By name: botocore and aiohttp are there only where such places are used.
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
_NO_ANSWER = {
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ClientConnectionError",
    "HTTPClientError", "ServerTimeoutError", "gaierror",
}  # fmt: skip


@contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn what a remote file system raises into one line that says what to do.

    Files that aren't there, or may not be read, stay what they are: `OSError`.

    Raises
    ------
    InputError
        Without credentials, without the package that a scheme needs, for a scheme that nobody
        knows, and for what the place can't do, such as listing.
    ConnectionError
        If nothing answers: another try may succeed.
    """
    where = without_secrets(url)
    scheme = where.partition("://")[0]
    root = "/".join(where.split("/")[:3])
    try:
        yield
    except (I2RError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & _NO_CREDENTIALS:
            raise InputError(
                f"{root}: no credentials found. Give them as for the 'aws' command; public buckets "
                'need {"s3": {"anon": true}} in fsspec\'s configuration '
                "(~/.config/fsspec/conf.json, or FSSPEC_S3_ANON=true)."
            ) from error
        if kinds & _NO_ANSWER or isinstance(error, (ConnectionError, TimeoutError)):
            raise ConnectionError(
                f"{root}: no answer ({_first_line(error)}). Check the address and the network, "
                "and try again."
            ) from error
        if isinstance(error, ImportError):
            raise InputError(
                f"{where}: reading {scheme}:// needs a package more ({_first_line(error)}). "
                "Install it."
            ) from error
        if isinstance(error, NotImplementedError):
            raise InputError(
                f"{where}: files can't be listed there. Give a CSV table of the files."
            ) from error
        if isinstance(error, ValueError) and "rotocol" in str(error):
            raise InputError(
                f"{where}: {_first_line(error)}, expected a folder, s3:// or https://. Correct it."
            ) from error
        raise


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
                raise InputError(
                    f"{without_secrets(self._url)}: may not be listed (403 or no permission). Ask "
                    "for the permission, correct the name, or give a CSV table of the files."
                ) from error
            except FileNotFoundError:
                if name != "find":
                    raise
                return {}

        return call


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")[:200]
