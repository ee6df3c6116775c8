"""A simulated screen on disk: images, layout, truth, and a pipeline that is ready to run."""

import io
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd

from i2r.errors import InputError
from i2r.simulation.designs import (
    ScreenDesign,
    draw_surroundings,
    plan_genes,
    plan_layout,
)
from i2r.simulation.effects import KINDS, make_phenotype
from i2r.simulation.fields import compose_field
from i2r.simulation.networks import LINE, plan_network
from i2r.simulation.nuclei import PIXEL_SIZE_UM, Nuclei
from i2r.simulation.regulation import describe_modules
from i2r.store import files
from i2r.types import parse_well

DESIGN = "design.json"


def write_screen(
    url: str, design: ScreenDesign, *, workers: int = 1, nuclei: Nuclei | None = None
) -> pd.DataFrame:
    """Write a simulated screen.

    Parameters
    ----------
    url
        An empty or new folder, or one where writing the same design was stopped: gets
        ``design.json``, ``images/PLATE/WELL_sFIELD_DNA.tif``, ``layout.csv``, ``truth/genes.csv``,
        with modules also what `write_network` writes, and last ``pipeline.yaml``.
    design
        What to simulate.
    workers
        Processes that draw wells; the result is the same for any number.
    nuclei
        What fields are composed of; default: the nuclei that ship with i2r.

    Returns
    -------
    DataFrame
        The truth, see `plan_genes`.

    Raises
    ------
    InputError
        If the design can't be made, or the folder is not empty.
    """
    design.check()
    url = files.normalise_url(url)
    found = files.list_folder(url)
    described, described_url = json.dumps(design._asdict()).encode(), files.join_url(url, DESIGN)
    # What is there of the same design is written again, the same.
    is_unfinished = DESIGN in found and "pipeline.yaml" not in found
    if found and not (is_unfinished and files.read_bytes(described_url) == described):
        raise InputError(
            f"{url}: not empty (found {', '.join(sorted(found)[:3])}). Name a new folder."
        )
    files.write_bytes(described_url, described)
    layout, genes = plan_layout(design), plan_genes(design)
    write_well = partial(_write_well, url, design, genes.set_index("gene"), nuclei)
    wells = list(layout.itertuples(index=False, name=None))
    if workers > 1:
        # A fresh interpreter: threads of this one do not survive a fork.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            _exhaust(pool.map(write_well, wells, chunksize=max(1, len(wells) // (8 * workers))))
    else:
        _exhaust(map(write_well, wells))
    _write_csv(files.join_url(url, "layout.csv"), layout)
    _write_csv(files.join_url(url, "truth", "genes.csv"), genes)
    if design.modules:
        write_network(url, design)
    # JSON is YAML.
    content = json.dumps(describe_pipeline(design), indent=1)
    files.write_bytes(files.join_url(url, "pipeline.yaml"), content.encode())
    return genes


def write_network(url: str, design: ScreenDesign) -> None:
    """Write the tables of a design's network.

    Parameters
    ----------
    url
        A folder: gets ``interactions.tsv`` (protein1, protein2, cost), ``expression.csv`` (symbol,
        then cell lines), ``cells.csv`` (gene, then cells), ``modules.gmt`` and
        ``truth/modules.csv`` (gene, module, is_screened).
    design
        With modules.
    """
    network = plan_network(design)
    _write_csv(files.join_url(url, "interactions.tsv"), network.interactions, separator="\t")
    _write_csv(files.join_url(url, "expression.csv"), network.lines)
    _write_csv(files.join_url(url, "cells.csv"), network.cells)
    _write_csv(files.join_url(url, "truth", "modules.csv"), network.genes)
    files.write_bytes(files.join_url(url, "modules.gmt"), describe_modules(network.genes).encode())


def describe_pipeline(design: ScreenDesign) -> dict[str, Any]:
    """Give the pipeline that suits a simulated screen; its paths are relative to the folder."""
    stages: list[dict[str, Any]] = [
        {
            "stage": "convert",
            "source": "images",
            "layout": "layout.csv",
            "pattern": r"(?P<plate>[^/]+)/(?P<well>[A-Z]+\d+)_s(?P<field>\d+)_"
            r"(?P<channel>\w+)\.tif",
            "pixel_size_um": PIXEL_SIZE_UM,
        },
        {"stage": "quality"},
        {"stage": "illuminate"},
        {"stage": "segment", "channel": "DNA"},
        {"stage": "crop"},
        {"stage": "features"},
        {"stage": "profiles"},
        {"stage": "screen", "method": "fast"},
    ]
    if design.modules:
        stages += [
            # Targets are what the screen calls. No cut for hubs, which a small network has none of.
            {
                "stage": "interactome",
                "interactions": "interactions.tsv",
                "expression": "expression.csv",
                "line": LINE,
                "hub_quantile": 1.0,
            },
            {"stage": "genes", "features": "cells.csv", "gene_sets": ["modules.gmt"]},
            {"stage": "map", "profiles": "features"},
            {"stage": "predict"},
        ]
    return {
        "seed": 0,
        "description": "simulated screen",
        "stages": [*stages, {"stage": "report"}],
    }


def _write_well(
    url: str,
    design: ScreenDesign,
    genes: pd.DataFrame,
    nuclei: Nuclei | None,
    row: tuple[str, str, str, str, str],
) -> None:
    """Write the fields of one well, whose random stream depends on nothing but its place."""
    import tifffile

    plate, name, _, gene, _ = row
    well, number = parse_well(name), design.plate_names.index(plate)
    changes = {kind: float(genes.loc[gene, f"change_{kind}"]) for kind in KINDS if gene}
    phenotype = make_phenotype(changes)
    surroundings = draw_surroundings(design, number, well)
    for field in range(1, design.fields + 1):
        image = compose_field(
            np.random.SeedSequence(
                design.seed, spawn_key=(4, number, well.row, well.column, field)
            ),
            shape=(design.field_px, design.field_px),
            phenotype=phenotype,
            surroundings=surroundings,
            nuclei=nuclei,
        )
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, image)
        target = files.join_url(url, "images", plate, f"{name}_s{field}_DNA.tif")
        files.write_bytes(target, buffer.getvalue())


def _write_csv(url: str, table: pd.DataFrame, *, separator: str = ",") -> None:
    files.write_bytes(url, table.to_csv(index=False, sep=separator).encode())


def _exhaust(results: Iterable[None]) -> None:
    for _ in results:
        pass
