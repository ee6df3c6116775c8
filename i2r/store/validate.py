"""Check that an experiment holds everything that its layout and its ledger promise."""

import json
from collections.abc import Iterator
from typing import Any

from i2r.errors import I2RError
from i2r.store import files
from i2r.store.catalog import quote_name, well_path
from i2r.store.damage import find_damage, iterate_outputs
from i2r.store.experiment import Experiment
from i2r.store.plate import Plate
from i2r.store.shards import is_own_shard, read_index
from i2r.store.unit_result import UnitResult


def find_problems(experiment: Experiment, *, deep: bool = False) -> list[str]:
    """List what is missing or ill-formed in an experiment, one line each.

    Every well and field of the layout is looked for, unless it was excluded with a reason:
    groups, shapes, data types, channel counts, shard files, label images, crops and tables.
    Of shards the index is read, which cut files lack; pixels are not decoded. Whatever units noted
    that they wrote has to be there with its size. Units that are not done are not problems; see the
    ledger for them.

    Parameters
    ----------
    experiment
        The experiment.
    deep
        Whether to read everything that units wrote, and compare it with its checksums.
    """
    problems = list(_check_plates(experiment))
    for entry in experiment.ledger.entries():
        if entry.event != "done" or entry.key == "*":
            continue
        if entry.key in experiment.wells and entry.report.encoders is not None:
            problems += _check_embeddings(experiment, entry.stage, entry.key, entry.report)
        elif entry.key in experiment.wells:
            url = experiment.part_url(entry.stage, entry.key)
            if not files.exists(url):
                problems.append(f"{url}: missing, though {entry.stage} {entry.key} is done.")
            problems += _check_crops(experiment, entry.stage, entry.key, entry.report)
    problems += _check_merged(experiment)
    named = "\n".join(problems)
    for damage in find_damage(experiment, iterate_outputs(experiment), content=deep):
        url = damage.line.partition(": damaged (")[0]
        if url.partition("/c/0")[0] not in named:
            problems.append(damage.line)
    return problems


def _check_merged(experiment: Experiment) -> Iterator[str]:
    """Check that the merged tables of complete stages are there, one per plate."""
    for stage in sorted(experiment.ledger.stages):
        if not experiment.ledger.is_merged(stage):
            continue
        plates = {
            experiment.wells[entry.key].plate
            for entry in experiment.ledger.entries(stage)
            if entry.event == "done"
            and entry.key in experiment.wells
            and entry.report.encoders is None
        }
        for plate in sorted(plates):
            url = experiment.table_url(stage, plate)
            if not files.exists(url):
                yield f"{url}: missing, though {stage} is complete."


def _check_plates(experiment: Experiment) -> Iterator[str]:
    """Check plate, well, field and label groups against the layout."""
    converted = _stages_with(experiment, "source")
    segmented = _stages_with(experiment, "labels")
    # Looked up once: of a thousand plates every look goes through a million units.
    excluding = _stages_that_exclude(experiment)
    merged = any(experiment.ledger.is_merged(stage) for stage in converted)
    for plate in experiment.plates.values():
        url = experiment.plate_url(plate.name)
        for well in plate.wells:
            key = f"{plate.name}/{well}"
            done = [s for s in converted if experiment.ledger.result(s, key) is not None]
            if not done:
                continue
            fields = experiment.fields(key, done)
            group = files.join_url(url, *well_path(well))
            document = _read_document(group)
            listed = [i["path"] for i in _ome(document).get("well", {}).get("images", [])]
            if document is None or listed != [quote_name(field) for field in fields]:
                yield (
                    f"{group}: lists the fields {listed}, the layout and the ledger say {fields}. "
                    "Run 'convert' again."
                )
            labelled = {
                stage: set(experiment.fields(key, excluding))
                for stage in segmented
                if experiment.ledger.result(stage, key) is not None
            }
            for field in fields:
                names = [stage for stage, usable in labelled.items() if field in usable]
                yield from _check_field(experiment, plate, key, field, names)
        if merged:
            yield from _check_plate_document(url, plate)


def _check_plate_document(url: str, plate: Plate) -> Iterator[str]:
    """Check the plate's own group: its wells are the layout's."""
    wells = [w["path"] for w in _ome(_read_document(url)).get("plate", {}).get("wells", [])]
    expected = sorted("/".join(well_path(well)) for well in plate.wells)
    if sorted(wells) != expected:
        missing = sorted(set(expected) - set(wells))
        yield (
            f"{url}: the plate lists {len(wells)} wells, expected {len(expected)} "
            f"(missing {missing[:3]}). Run 'convert' again."
        )


def _check_field(
    experiment: Experiment, plate: Plate, key: str, field: str, labelled: list[str]
) -> Iterator[str]:
    """Check a field's image, and the labels that stages drew of it."""
    url = experiment.image_url(key, field)
    axes = [
        a["name"] for a in (_ome(_read_document(url)).get("multiscales") or [{}])[0].get("axes", [])
    ]
    if axes != ["c", "y", "x"]:
        yield f"{url}: no image group with the axes c, y, x (found {axes})."
    yield from check_array(f"{url}/0", plate.shape, str(plate.dtype))
    for stage in labelled:
        yield from check_array(f"{url}/labels/{stage}/0", plate.shape[1:], None)


def check_array(url: str, shape: tuple[int, ...], dtype: str | None) -> Iterator[str]:
    """Check an array's description, and that its shard is there and was not cut."""
    document = _read_document(url)
    if document is None:
        yield f"{url}: missing, or no Zarr array."
        return
    if tuple(document.get("shape", ())) != tuple(shape):
        yield f"{url}: shape {tuple(document.get('shape', ()))}, expected {tuple(shape)}."
    if dtype is not None and document.get("data_type") != dtype:
        yield f"{url}: data type {document.get('data_type')}, expected {dtype}."
    shard = document.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape", [])
    n_shards = 1
    for length, edge in zip(shape, shard, strict=False):
        n_shards *= -(-length // edge)
    if n_shards == 1 and 0 not in shape:
        first = "/".join(["c", *("0" for _ in shape)])
        if not files.exists(f"{url}/{first}"):
            yield f"{url}: its shard {first} is missing."
        elif is_own_shard(document):
            with files.open_file(f"{url}/{first}") as file:
                try:
                    read_index(file, document, where=url)
                except I2RError as error:
                    yield str(error)


def _check_crops(experiment: Experiment, stage: str, key: str, report: UnitResult) -> Iterator[str]:
    """Check that a well's crops are as many as its table has."""
    if report.left_out is None:
        return
    url = experiment.crops_url(stage, key)
    document = _read_document(url)
    if document is None:
        yield f"{url}: missing, though {stage} {key} is done."
        return
    shape = tuple(document.get("shape", ()))
    if shape[:1] != (report.nuclei,):
        yield f"{url}: holds {shape[:1]} crops, its table has {report.nuclei}."
    yield from check_array(url, shape, None)


def _check_embeddings(
    experiment: Experiment, stage: str, key: str, report: UnitResult
) -> Iterator[str]:
    """Check that a well has an embedding per crop from every encoder; it has no table."""
    for encoder in report.encoders or ():
        url = experiment.embeddings_url(stage, key, encoder=encoder)
        document = _read_document(url)
        if document is None:
            yield f"{url}: missing, though {stage} {key} is done."
            continue
        shape = tuple(document.get("shape", ()))
        if shape[:1] != (report.nuclei,):
            yield f"{url}: holds {shape[:1]} embeddings of {report.nuclei} crops."
        yield from check_array(url, shape, "float32")


def _stages_with(experiment: Experiment, what: str) -> list[str]:
    """List the stages whose units reported that they wrote sources or labels."""
    return sorted(
        {e.stage for e in experiment.ledger.entries(matching='"wrote"') if e.report.wrote == what}
    )


def _stages_that_exclude(experiment: Experiment) -> list[str]:
    """List the stages that exclude fields, each of which any other may have obeyed."""
    return sorted(
        {e.stage for e in experiment.ledger.entries(matching='"excluded"') if e.report.excluded}
    )


def _read_document(url: str) -> dict[str, Any] | None:
    """Read a ``zarr.json``; None where there is none, or no JSON."""
    try:
        content = json.loads(files.read_bytes(f"{url}/zarr.json"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _ome(document: dict[str, Any] | None) -> dict[str, Any]:
    found = ((document or {}).get("attributes") or {}).get("ome") or {}
    return found if isinstance(found, dict) else {}
