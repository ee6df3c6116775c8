"""What a site's configuration of dask-jobqueue says about jobs, where a cluster file says nothing.

Sites and users keep accounts, directives and module lines in ``jobqueue.yaml``. Lists of a cluster
file come behind the site's, so that both hold, and of two that contradict each other the file's.
"""

import os
from importlib.util import find_spec
from typing import Any

import yaml

# Fields that are lists: the site's come first.
LISTS = (
    "worker_extra_args",
    "job_extra_directives",
    "job_directives_skip",
    "job_script_prologue",
)
# dask-jobqueue's older names, which it still reads.
OLDER = {
    "worker_extra_args": "extra",
    "job_extra_directives": "job-extra",
    "job_directives_skip": "header-skip",
    "job_script_prologue": "env-extra",
    "account": "project",
}


def fill_from_site(content: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """Add a site's settings to the content of a cluster file of jobs.

    Parameters
    ----------
    content
        What is in the file; its ``type`` names the section of the site's configuration.
    fields
        The fields of a group of jobs that are dask-jobqueue's.

    Returns
    -------
    dict
        The content with ``cpu``, ``gpu`` and ``scheduler_options`` completed.
    """
    site = read_site(str(content["type"]))
    filled = dict(content)
    for group in ("cpu", "gpu"):
        jobs = content.get(group)
        if jobs is not None and not isinstance(jobs, dict):
            continue  # refused when the file is checked
        if group == "cpu" and jobs is None:
            jobs = {"jobs": 1}  # as without a site
        own = dict(jobs or {})
        for name in fields:
            value = site.get(name)
            if value is None:
                continue
            if name not in LISTS:
                own.setdefault(name, value)
            elif isinstance(value, (list, tuple)) and isinstance(own.get(name, []), list):
                own[name] = [*value, *own.get(name, [])]
        filled[group] = own
    options = content.get("scheduler_options") or {}
    if isinstance(options, dict):
        given = {k: v for k, v in site["scheduler_options"].items() if v is not None}
        if not {"host", "interface"} & {*given, *options} and site.get("interface"):
            given["interface"] = site["interface"]  # dask-jobqueue's scheduler listens there too
        dashboard = given.pop("dashboard_address", None)
        known = {k: v for k, v in given.items() if k in ("host", "interface", "port")}
        filled["scheduler_options"] = {**known, **options}
        if isinstance(dashboard, str):
            filled.setdefault("dashboard_address", dashboard)
    return filled


def read_site(kind: str) -> dict[str, Any]:
    """Read what was set for a batch system, by the names of a cluster file; without defaults."""
    import dask

    given = dask.config.get(f"jobqueue.{kind}", None)
    given = given if isinstance(given, dict) else {}
    shipped = _read_shipped(kind)
    site: dict[str, Any] = {}
    for older in (True, False):  # the present name wins
        names = OLDER if older else {_spell(name): name for name in given}
        for name, key in names.items():
            if given.get(key) is not None and given[key] != shipped.get(key):
                site[name] = given[key]
    options = given.get("scheduler-options")
    options = options if isinstance(options, dict) else {}
    site["scheduler_options"] = {_spell(str(key)): value for key, value in options.items()}
    return site


def _spell(name: str) -> str:
    return name.replace("-", "_")


def _read_shipped(kind: str) -> dict[str, Any]:
    """Read dask-jobqueue's own defaults, which are among the settings once it was imported."""
    found = find_spec("dask_jobqueue")
    if found is None:
        return {}
    folder = (found.submodule_search_locations or [""])[0]
    with open(os.path.join(folder, "jobqueue.yaml"), encoding="utf-8") as file:
        content: dict[str, Any] = yaml.safe_load(file)
    shipped: dict[str, Any] = content["jobqueue"][kind]
    return shipped
