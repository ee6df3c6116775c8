"""Addresses: local paths and fsspec URLs, joined so that nothing leads out of a folder."""

import os
import re

from i2r.errors import InputError

_LOCAL_SCHEMES = ("file://", "local://")
# A colon is an NTFS stream, '*', '?' and '[' are globs to fsspec's recursive remove.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\[\]]')
# user:password@host, where the password may hold slashes but host:port/ is none; and what signed
# links carry in their query.
_PASSWORD = re.compile(r"://[^/?#@]*:(?!\d+(?:[/?#]|$))[^@]*@")
_SIGNATURE = re.compile(
    r"[?&][^=&]*(sig|token|secret|passw|pwd|credential|key)[^=&]*=[^&]", re.IGNORECASE
)
# Names that Windows keeps for devices: a result copied there would lose these files.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_local(url: str) -> bool:
    """Tell whether a URL names a place on this machine: no scheme, file:// or local://."""
    return url.startswith(_LOCAL_SCHEMES) or ("://" not in url and "::" not in url)


def local_path(url: str) -> str:
    """Turn a local URL into a path; `is_local` must hold."""
    for scheme in _LOCAL_SCHEMES:
        url = url.removeprefix(scheme)
    return url


def normalise_url(url: str) -> str:
    """Write an address in one way: absolute local paths, no slash at the end.

    Workers may run in other folders than the client, so relative paths end here.

    Raises
    ------
    InputError
        If the URL holds a password or a signature.
    """
    if is_local(url):
        return os.path.abspath(os.path.expanduser(local_path(url)))
    refuse_secrets(url)
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rstrip('/')}"


def resolve_url(url: str, folder: str) -> str:
    """Read an address as seen from a folder: relative local paths start there."""
    if is_local(url) and not os.path.isabs(os.path.expanduser(local_path(url))):
        base = normalise_url(folder)
        if is_local(base):
            return os.path.normpath(os.path.join(base, local_path(url)))
        return f"{base}/{url}"
    return normalise_url(url)


def parent_url(url: str) -> str:
    """Give the folder of a file or folder."""
    return normalise_url(url).rpartition("/")[0] or "/"


def join_url(base: str, *parts: str) -> str:
    """Name something inside a folder; the result never lies outside it.

    Parameters
    ----------
    base
        The folder's URL.
    *parts
        Names, or paths of names separated by '/', as in ``B/3``.

    Returns
    -------
    str
        ``base/part/...``.

    Raises
    ------
    InputError
        If a name is empty, ``.``, ``..``, longer than 255 bytes, a device of Windows, or holds a
        backslash, a control character or one of ``: * ? " < > | [ ]``; so also if a part is
        absolute or a URL of its own.
    """
    for part in parts:
        for name in part.split("/"):
            _check_name(name, part)
    return "/".join((base.rstrip("/"), *parts))


def _check_name(name: str, part: str) -> None:
    if name in ("", ".", ".."):
        found = "an empty name" if not name else f"the name {name!r}"
    elif bad := _FORBIDDEN.search(name):
        found = f"the character {bad[0]!r}"
    elif _DEVICES.fullmatch(name):
        found = f"the name {name!r}, which Windows keeps for a device"
    elif len(name.encode(errors="surrogatepass")) > 255:
        found = "a name of more than 255 bytes"
    else:
        return
    raise InputError(
        f"path {part[:80]!r}: found {found}, expected names that every file system takes. "
        "Rename it."
    )


def refuse_secrets(url: str) -> None:
    """Refuse URLs with a password, token or signature: addresses are written down in many places.

    Raises
    ------
    InputError
        If there is one; the message does not repeat it.
    """
    if _PASSWORD.search(url) or _SIGNATURE.search(url):
        raise InputError(
            f"{without_secrets(url)}: the URL holds a password, key or signature, which would be "
            "written down with it. Leave it out; give it in the environment (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, ...) or in fsspec's configuration."
        )


def without_secrets(url: str) -> str:
    """Write a URL for people: without user, password and query string (signed links)."""
    if "://" not in url:
        return url
    return re.sub(r"(?<=://)[^/?#]*@", "", _PASSWORD.sub("://", url).partition("?")[0])
