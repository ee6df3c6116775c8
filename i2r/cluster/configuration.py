"""Dask's configuration: ours where the cluster is ours, the user's where it is theirs.

What a user, a site or JupyterHub set for other clusters (a preload, an idle timeout, a lifetime,
UCX, encryption) would end or stop the workers that a run starts for itself. Workers on this
machine get Dask's own defaults and `DASK_SETTINGS`. Jobs of a batch system run among the site's
settings, without those that would end them early. A scheduler that is there already keeps its own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from i2r.cluster.settings import DASK_SETTINGS
from i2r.cluster.spec import AnyCluster, ClusterSpec, JobClusterSpec
from i2r.errors import InputError
from i2r.surroundings import can_write

# What units compute must not depend on a configuration: they use NumPy and pandas, lazily.
RESULT_SETTINGS: dict[str, Any] = {
    "array.backend": "numpy",
    "dataframe.backend": "pandas",
    "tokenize.ensure-deterministic": False,
    "scheduler-address": None,
}
# Of the scheduler and the client, which live in this process; of the workers only what is ours.
OWNED_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.preload": [],
    "distributed.scheduler.preload-argv": [],
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.blocked-handlers": [],
    "distributed.client.preload": [],
    "distributed.client.preload-argv": [],
    "distributed.comm.default-scheme": "tcp",
}


@contextmanager
def use_settings(spec: AnyCluster) -> Iterator[None]:
    """Import Dask's scheduler, and hold the settings that a cluster needs while it is used.

    For workers of this machine the user's whole configuration is put aside, so also names of
    older versions and values of wrong types in it. It is back at the end.

    Raises
    ------
    InputError
        If Dask does not like the user's configuration, where that one is used.
    """
    import dask

    if spec.type != "local":
        import_distributed()
        with dask.config.set(choose_settings(spec)):
            yield
        return
    settings, own = choose_settings(spec), make_own_configuration()
    with _put_in_place(own):
        import_distributed()
        with dask.config.set(settings):
            yield


def choose_settings(spec: AnyCluster) -> dict[str, Any]:
    """Give the settings of Dask that hold while a cluster is used, by their dotted names."""
    if isinstance(spec, JobClusterSpec):
        return {**RESULT_SETTINGS, **OWNED_SETTINGS, **DASK_SETTINGS}
    if spec.type != "local":
        return {**RESULT_SETTINGS, **DASK_SETTINGS}
    return {**RESULT_SETTINGS, **DASK_SETTINGS, "distributed.dashboard.link": find_link_template()}


def make_own_configuration() -> dict[str, Any]:
    """Put together what Dask ships, with the user's folder for temporary files."""
    import dask

    own: dict[str, Any] = {}
    for shipped in dask.config.defaults:
        dask.config.update(own, deepcopy(shipped))
    own["distributed"] = read_defaults()
    folder = dask.config.get("temporary-directory", None)
    if isinstance(folder, str):
        own["temporary-directory"] = folder
    return own


@contextmanager
def _put_in_place(own: dict[str, Any]) -> Iterator[None]:
    """Hold a configuration in place of the user's, without a moment in which there is none."""
    import dask

    current: dict[str, Any] = dask.config.config
    users = dict(current)
    _replace(current, own)
    try:
        yield
    finally:
        # What Dask does when it is imported; its threads may still ask when a cluster is closed.
        with suppress(Exception):  # whatever stands there
            merged = deepcopy(users)
            dask.config.rename(dask.config.deprecations, config=merged)
            users = dask.config.update({"distributed": read_defaults()}, merged)
        _replace(current, users)


def _replace(current: dict[str, Any], new: dict[str, Any]) -> None:
    current.update(new)
    for name in set(current) - set(new):
        del current[name]


def read_defaults() -> dict[str, Any]:
    """Read the section that Dask ships, without importing it: it reads the user's on import."""
    found = find_spec("distributed")
    folder = (found.submodule_search_locations or [""])[0] if found else ""
    with open(os.path.join(folder, "distributed.yaml"), encoding="utf-8") as file:
        content: dict[str, Any] = yaml.safe_load(file)
    section: dict[str, Any] = content["distributed"]
    return section


def find_link_template() -> str:
    """Give the user's form of the dashboard's address where it can be filled in, else Dask's own.

    JupyterHub's has a variable in it, which batch jobs and terminals don't have.
    """
    import dask

    default: str = read_defaults()["dashboard"]["link"]
    template = default
    with suppress(Exception):  # whatever stands there
        template = str(dask.config.get("distributed.dashboard.link", default))
        template.format(**{**os.environ, "scheme": "http", "host": "localhost", "port": 8787})
        return template
    return default


def import_distributed() -> None:
    """Import Dask's scheduler, which reads the user's configuration.

    Raises
    ------
    InputError
        If it does not like it.
    """
    try:
        import distributed  # noqa: F401
    except Exception as error:
        raise InputError(
            f"Dask's configuration: {type(error).__name__}: {find_cause(error)}. Correct it "
            "(~/.config/dask, DASK_ variables), or name another one (DASK_CONFIG)."
        ) from error


def check_scratch(folder: str) -> None:
    """Refuse a folder for the workers' temporary files in which they can't write.

    Parameters
    ----------
    folder
        Dask's ``temporary-directory``; empty for the system's.

    Raises
    ------
    InputError
        If it is so.
    """
    if folder and not can_write(Path(folder)):
        raise InputError(
            f"Dask's configuration: temporary-directory is {folder!r}, expected a folder that can "
            "be written. Correct it, or take it out."
        )


def make_security(spec: AnyCluster) -> Any:
    """Give Dask's security settings: the file's, otherwise those of Dask's own configuration."""
    from distributed import Security

    try:
        return Security(**(spec.security or {}))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"cluster: security: {error}. Fields are those of Dask's Security."
        ) from error


def speaks_tls(spec: AnyCluster) -> bool:
    """Tell whether what is started speaks tls://: the file says so, or the site requires it."""
    if spec.security:
        return True
    return isinstance(spec, JobClusterSpec) and bool(make_security(spec).require_encryption)


def check_security(spec: AnyCluster, security: Any) -> None:
    """Refuse a connection that can't come about, before anything is tried.

    Raises
    ------
    InputError
        If certificates are missing or can't be read, or if encryption is required but the
        scheduler's address is not tls://.
    """
    try:
        found = security.get_connection_args("client")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"cluster: security: certificates can't be read ({error}), expected PEM files. Check "
            "the paths and that key and certificate belong together."
        ) from error
    address = (spec.address or "") if isinstance(spec, ClusterSpec) else ""
    if found["ssl_context"] is None and (speaks_tls(spec) or address.startswith("tls://")):
        where = address or spec.type
        raise InputError(
            f"cluster {where}: no certificates, expected tls_ca_file, tls_client_cert "
            "and tls_client_key. Give them under 'security:', or in Dask's configuration "
            "(distributed.comm.tls)."
        )
    if found["require_encryption"] and address and not address.startswith("tls://"):
        raise InputError(
            f"cluster {address}: encryption is required, expected tls://. Correct the address."
        )


def find_cause(error: BaseException) -> str:
    """Give the first line of what an exception came from in the first place."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
