"""What is needed to do the same again: versions, options, machine, sources."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import yaml

from i2r.report import html
from i2r.report.source import ReportSource, hide_secrets
from i2r.store import files

TITLE = "Provenance"
ORDER = 90
LICENCE_NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
LICENCE_LETTERS = 6000


def draw(source: ReportSource) -> str:
    """Show the experiment's address, its runs, the last run's options, and the layout."""
    runs = source.runs
    last = runs[-1] if runs else {}
    return html.render(
        "provenance.html",
        facts=_list_facts(source, last),
        runs=_tabulate_runs(runs) if runs else None,
        options=_write_options(last),
        cluster=_to_yaml(last.get("cluster", {})) if last.get("cluster") else "",
        layout=_tabulate_layout(source),
        licence=_find_licence(source),
    )


def _list_facts(source: ReportSource, last: dict[str, Any]) -> list[tuple[str, str]]:
    """List what identifies the experiment and the software."""
    versions = {name: value for name, value in last.get("versions", {}).items() if value}
    facts = [
        ("experiment", files.without_secrets(source.experiment.url)),
        ("source", ", ".join(_list_sources(source))),
        ("layout", ", ".join(_list_options(source, "layout"))),
        ("seed", str(last.get("pipeline", {}).get("seed", ""))),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ("Python", str(last.get("python", ""))),
        ("platform", str(last.get("platform", ""))),
        ("source code", str(last.get("git_sha", ""))),
    ]
    return [(name, value) for name, value in facts if value]


def _list_options(source: ReportSource, name: str) -> list[str]:
    """Give the values of an option of all stages that have it."""
    values = [str(stage.options[name]) for stage in source.stages if stage.options.get(name)]
    return list(dict.fromkeys(values))


def _list_sources(source: ReportSource) -> list[str]:
    """Give the folders that images came from."""
    return _list_options(source, "source")


def _tabulate_runs(runs: list[dict[str, Any]]) -> str:
    """Make a table of all runs, the last one first."""
    rows = [
        {
            "run": int(run["run"]),
            "started": _write_time(run.get("started_s")),
            "s": round(float(run["seconds"]), 1) if "seconds" in run else float("nan"),
            "units": sum(run.get("units_run", {}).values()) if "seconds" in run else float("nan"),
            "failed": run.get("failed", float("nan")),
            "i2r": run.get("versions", {}).get("i2r", ""),
            "command": str(run.get("command", "")),
        }
        for run in reversed(runs)
    ]
    caption = (
        "Runs that changed this experiment, the last one first, in seconds by the clock; a dash: "
        "still running when this report was made, or stopped."
    )
    return html.table(pd.DataFrame(rows), caption)


def _write_time(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""


def _write_options(last: dict[str, Any]) -> str:
    """Write the last run's pipeline as the YAML that would run it again."""
    pipeline = last.get("pipeline", {})
    stages = [
        {name: value for name, value in stage.items() if value not in ("", [], {})}
        for stage in pipeline.get("stages", [])
    ]
    if not stages:
        return ""
    top = {name: value for name, value in pipeline.items() if name != "stages" and value != ""}
    return _to_yaml({**top, "stages": stages})


def _to_yaml(value: object) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


def _tabulate_layout(source: ReportSource) -> str:
    """Count the wells of every condition."""
    wells = source.experiment.layout_by_key
    counted = wells.groupby(["condition", "role"], sort=False).agg(
        gene=("gene", "first"), plates=("plate", "nunique"), wells=("well", "size"),
        fields=("n_fields", "sum"),
    )  # fmt: skip
    table = counted.reset_index()
    table["role"] = table["role"].map(lambda role: html.ROLE_NAMES.get(role, role))
    if not table["gene"].astype(bool).any():
        table = table.drop(columns="gene")
    return html.table(table, "The layout: plates, wells and fields per condition.")


def _find_licence(source: ReportSource) -> str:
    """Read the licence of the images, where a file beside them states it."""
    for folder in _list_sources(source):
        if not files.is_local(folder):
            continue
        for place in (folder, files.parent_url(folder)):
            for name in LICENCE_NAMES:
                url = files.join_url(place, name)
                if files.exists(url):
                    text = files.read_bytes(url).decode("utf-8", "replace")
                    return str(hide_secrets(text[:LICENCE_LETTERS]))
    return ""
