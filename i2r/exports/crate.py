"""A Workflow Run RO-Crate: what was computed from what, with which options and versions.

Profiles: https://w3id.org/ro/wfrun/workflow/0.5 on https://w3id.org/ro/crate/1.1. Small files are
in the crate; plates, models and raw images are named where they are.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from i2r.errors import InputError
from i2r.exports import written_whole
from i2r.store import files, tables
from i2r.store.experiment import Experiment
from i2r.store.records import read_record
from i2r.store.results import find_table

Entity = dict[str, Any]

METADATA = "ro-crate-metadata.json"
_PIPELINE, _INPUTS, _LAYOUT = "pipeline.json", "inputs.csv", "layout.csv"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_LANGUAGE = "https://github.com/i2r-project/i2r#pipeline"
# Above this raw files are in the list of inputs alone.
MOST_FILES = 5000


def write_crate(experiment: Experiment, target: Path, *, options: Mapping[str, Any]) -> int:
    """Write a crate as a folder.

    Parameters
    ----------
    experiment
        The experiment, with at least one run.
    target
        The folder; it is there only when it is complete.
    options
        The options of the last run that are not their defaults, by name.

    Returns
    -------
    int
        The number of entities in the crate.

    Raises
    ------
    InputError
        If nothing was run.
    """
    records = [read_record(url) for url in experiment.list_records()]
    if not records:
        raise InputError(f"{experiment.url}: nothing was run here. Run a pipeline first.")
    with written_whole(target) as folder:
        folder.mkdir()
        inputs = _write_inputs(experiment, folder)
        outputs = [*_copy_tables(experiment, folder), *_name_data(experiment)]
        pipeline = records[-1]["pipeline"]
        (folder / _PIPELINE).write_text(json.dumps(pipeline, indent=1), encoding="utf-8")
        described = list(_describe_options(options))
        software = _describe_software(records[-1])
        workflow = _describe_workflow(folder, pipeline, described, software)
        actions = [_describe_run(record) for record in records]
        actions[-1]["object"] = _refer([*inputs, *(value for value, _ in described)])
        actions[-1]["result"] = _refer(outputs)
        graph = [
            *_describe_root(experiment, records, workflow, actions, [*inputs, *outputs]),
            workflow,
            *actions,
            *inputs,
            *outputs,
            *(entity for pair in described for entity in pair),
            *software,
        ]
        document = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
        (folder / METADATA).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return len(graph)


def _refer(entities: Iterable[Entity]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]


def _describe_root(
    experiment: Experiment,
    records: list[dict[str, Any]],
    workflow: Entity,
    actions: list[Entity],
    parts: list[Entity],
) -> list[Entity]:
    name = experiment.url.rstrip("/").rpartition("/")[2]
    profiles = [
        {"@id": url, "@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]}
        for url, name in _PROFILES.items()
    ]
    return [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [
                {"@id": "https://w3id.org/ro/crate/1.1"},
                {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
            ],
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"i2r experiment {name}",
            "description": records[-1]["pipeline"].get("description")
            or f"A perturbation screen of {len(experiment.plates)} plates and "
            f"{len(experiment.wells)} wells, and what i2r computed of it.",
            "datePublished": _write_time(records[-1].get("started_s", 0.0)),
            "license": "Not stated: ask the owner of the data.",
            "conformsTo": _refer(profiles),
            "mainEntity": {"@id": workflow["@id"]},
            "mentions": _refer(actions),
            "hasPart": _refer([workflow, *parts]),
        },
        *profiles,
    ]


def _write_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _describe_run(record: Mapping[str, Any]) -> Entity:
    """Describe a run as the ledger's record has it."""
    stopped, failed = record.get("stopped"), record.get("failed", 0)
    action: Entity = {
        "@id": f"#run-{record['run']}",
        "@type": "CreateAction",
        "name": f"Run {record['run']}: {record.get('command', 'i2r run')}",
        "description": f"units run: {json.dumps(record.get('units_run', {}))}; failed: {failed}; "
        f"blocked: {record.get('blocked', 0)}; on {record.get('platform', 'an unknown machine')}",
        "instrument": {"@id": _PIPELINE},
        "startTime": _write_time(record.get("started_s", 0.0)),
        "actionStatus": "http://schema.org/FailedActionStatus"
        if stopped or failed
        else "http://schema.org/CompletedActionStatus",
    }
    if "finished_s" in record:
        action["endTime"] = _write_time(record["finished_s"])
    else:
        action["actionStatus"] = "http://schema.org/FailedActionStatus"
        action["error"] = "The run has no end: its client was stopped."
    if stopped:
        action["error"] = str(stopped)
    return action


def _describe_workflow(
    folder: Path,
    pipeline: Mapping[str, Any],
    options: list[tuple[Entity, Entity]],
    software: list[Entity],
) -> Entity:
    stages = " -> ".join(str(s.get("name") or s["stage"]) for s in pipeline["stages"])
    return {
        **_describe_file(folder / _PIPELINE, _PIPELINE),
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": f"Pipeline: {stages}",
        "encodingFormat": "application/json",
        "programmingLanguage": {"@id": _LANGUAGE},
        "input": _refer(parameter for _, parameter in options),
        "softwareRequirements": _refer(s for s in software if s["@id"] != _LANGUAGE),
    }


def _describe_options(options: Mapping[str, Any]) -> Iterable[tuple[Entity, Entity]]:
    """Describe options: each a value and its parameter."""
    for name, value in options.items():
        text = value if isinstance(value, str | int | float) else json.dumps(value)
        parameter = {
            "@id": f"#parameter-{name}",
            "@type": "FormalParameter",
            "additionalType": "Text" if isinstance(text, str) else "Number",
            "name": name,
            "conformsTo": {"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
        }
        given = {
            "@id": f"#option-{name}",
            "@type": "PropertyValue",
            "name": name,
            "value": text,
            "exampleOfWork": {"@id": parameter["@id"]},
        }
        yield given, parameter


def _describe_software(record: Mapping[str, Any]) -> list[Entity]:
    """Describe i2r, Python and the packages that results depend on, with their versions."""
    versions = {"python": record.get("python", ""), **record.get("versions", {})}
    found: list[Entity] = [
        {
            "@id": f"#software-{name}",
            "@type": "SoftwareApplication",
            "name": name,
            "softwareVersion": str(version),
        }
        for name, version in versions.items()
        if version
    ]
    language: Entity = {
        "@id": _LANGUAGE,
        "@type": "ComputerLanguage",
        "name": "i2r pipeline",
        "url": {"@id": "https://github.com/i2r-project/i2r"},
        "version": str(versions.get("i2r", "")),
    }
    if record.get("git_sha"):
        language["identifier"] = str(record["git_sha"])
    return [language, *found]


def _describe_file(path: Path, name: str) -> Entity:
    data = path.read_bytes()
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "contentSize": str(len(data)),
        "sha256": sha256(data).hexdigest(),
    }


def _write_inputs(experiment: Experiment, folder: Path) -> list[Entity]:
    """Write the layout, and the list of raw files with the SHA-256 that they had."""
    experiment.layout.to_csv(folder / _LAYOUT, index=False)
    converted = [
        experiment.table(name, columns=["url", "sha256"])
        for name in experiment.tables()
        if "sha256" in _list_columns(experiment, name)
    ]
    known = experiment.sources.drop_duplicates("url")[["plate", "url", "size_bytes"]]
    digests = pd.concat([known.iloc[:0].reindex(columns=["url", "sha256"]), *converted])
    listed = known.merge(digests.drop_duplicates("url"), on="url", how="left").fillna("")
    listed.to_csv(folder / _INPUTS, index=False)
    described = [_describe_file(folder / name, name) for name in (_LAYOUT, _INPUTS)]
    described[0]["description"] = "What is in every well."
    described[1]["description"] = f"{len(listed)} raw files with size and SHA-256."
    raw = [
        {
            "@id": _name_url(str(row.url)),
            "@type": "File",
            "name": str(row.url).rpartition("/")[2],
            "contentSize": str(row.size_bytes),
            **({"sha256": row.sha256} if row.sha256 else {}),
        }
        for row in (listed.itertuples() if len(listed) <= MOST_FILES else ())
    ]
    return [*described, *raw]


def _list_columns(experiment: Experiment, name: str) -> list[str]:
    try:
        return tables.read_columns(find_table(experiment, name)[0])
    except (InputError, FileNotFoundError, IndexError):
        return []


def _name_url(url: str) -> str:
    """Name a file or folder outside of the crate."""
    plain = files.without_secrets(url)
    return Path(plain).as_uri() if files.is_local(url) else plain


def _copy_tables(experiment: Experiment, folder: Path) -> Iterable[Entity]:
    """Copy the tables that are complete, and the report."""
    for name in experiment.tables():
        try:
            urls = find_table(experiment, name)
        except InputError:
            continue
        place = folder / "tables"
        place.mkdir(exist_ok=True)
        path = place / f"{name}.parquet"
        tables.concatenate([tables.read_table(url) for url in urls]).to_parquet(path, index=False)
        yield _describe_file(path, f"tables/{name}.parquet") | {
            "encodingFormat": "application/vnd.apache.parquet"
        }
    report = experiment.path("report.html")
    if files.exists(report):
        (folder / "report.html").write_bytes(files.read_bytes(report))
        yield _describe_file(folder / "report.html", "report.html") | {
            "encodingFormat": "text/html"
        }


def _name_data(experiment: Experiment) -> Iterable[Entity]:
    """Name plates, models and networks where they are."""
    for kind in ("plates", "models", "networks", "embeddings"):
        names = files.list_folder(experiment.path(kind))
        for name in names:
            url, is_file = _name_url(experiment.path(kind, name)), kind == "networks"
            yield {
                "@id": url if is_file else f"{url}/",
                "@type": "File" if is_file else "Dataset",
                "name": f"{kind}/{name}",
            }
