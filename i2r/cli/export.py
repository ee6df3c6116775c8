"""The command that writes results for other tools: export."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from i2r.cli.options import confirm_overwriting, say, yes_option
from i2r.errors import InputError, count_words
from i2r.extensions import find_extension, list_extensions

if TYPE_CHECKING:
    from i2r.store.experiment import Experiment

KINDS = (
    "h5ad", "parquet", "profiles", "graphml", "csv", "ome-zarr", "load-data", "ro-crate",
)  # fmt: skip
GROUP = "i2r.exports"


@click.command()
@click.argument("experiment", type=click.Path())
@click.option(
    "--format",
    "kind",
    type=click.Choice([*KINDS, *list_extensions(GROUP)]),
    required=True,
    help="h5ad: AnnData of nuclei, as Zarr if OUTPUT ends in .zarr. parquet: profiles of "
    "nuclei for pycytominer. profiles: of wells, conditions or genes, for pycytominer and copairs. "
    "graphml: a network of genes. csv: a table, or all of them. ome-zarr: plates with images, "
    "labels and tables for viewers. load-data: TIFFs with CellProfiler's load_data.csv. ro-crate: "
    "what was computed from what. Packages add formats by the entry point 'i2r.exports'.",
)
@click.option("-o", "--output", type=click.Path(), required=True, help="File or folder to write.")
@click.option(
    "--name",
    help="Stage, table or network to write. Default: features, or else embeddings, for h5ad and "
    "parquet; the only network for graphml; all tables, into a folder, for csv.",
)
@click.option(
    "--by",
    type=click.Choice(["well", "condition", "gene"]),
    default="well",
    show_default=True,
    help="What a row of 'profiles' is.",
)
@click.option(
    "--normalise",
    type=click.Choice(["none", "standardise", "robust", "sphering"]),
    default="standardise",
    show_default=True,
    help="Scale of 'profiles': that of the control wells of each plate.",
)
@click.option(
    "--ngff",
    type=click.Choice(["0.4", "0.5"]),
    default="0.5",
    show_default=True,
    help="Version of 'ome-zarr': 0.4 is on Zarr 2, 0.5 on Zarr 3.",
)
@click.option(
    "--well-images",
    type=click.Choice(["fused", "fields"]),
    default="fields",
    show_default=True,
    help="Images of 'ome-zarr': one per field, or one per well with all its fields.",
)
@click.option(
    "--wells",
    multiple=True,
    help="Wells of 'ome-zarr' and 'load-data', B03 or PLATE/B03, separated by commas or given "
    "several times. Default: all.",
)
@yes_option("Replace OUTPUT without asking.")
def export(
    experiment: str,
    kind: str,
    output: str,
    name: str | None,
    by: str,
    normalise: str,
    ngff: str,
    well_images: str,
    wells: tuple[str, ...],
    yes: bool,
) -> None:
    r"""Write results of EXPERIMENT for other tools.

    h5ad: X holds features or embeddings, obs plate, well, field, label, perturbation, gene,
    condition, role, dose and the layout's other columns, obsm["spatial"] x and y of each nucleus
    in its field in microns. Open it with anndata.read_h5ad or scanpy.read_h5ad, which needs the
    extra 'omics' here; or name OUTPUT something.zarr and open that with anndata.read_zarr.

    parquet: one row per nucleus, Metadata_Plate, Metadata_Well, Metadata_Site and so on, the
    layout's other columns as Metadata_..., Metadata_x_um and Metadata_y_um, and the features as
    Nuclei_...: pycytominer's aggregate, normalize and feature_select take it.

    profiles: one row per well, condition or gene (--by), as CSV or, by its name, Parquet: the
    layout's columns as Metadata_..., nuclei as Metadata_Object_Count, features as Nuclei_..., on
    the scale of each plate's controls. 'i2r audit' reads it too.

    graphml: for Cytoscape, Gephi, igraph and networkx.

    csv: one table with --name, otherwise a folder with all tables and the layout.

    ome-zarr: OUTPUT is a folder for all plates, or PLATE.zarr for the only one. Pixels and labels
    as converted, every level half of the one before; channel colours and one contrast for all
    wells; --well-images fused shows whole wells, fields at their positions or side by side. Tables
    as ngio reads them: 'condition' of the plate and of each image, features of nuclei per image.
    --ngff 0.4 is for programs that read no 0.5.

    load-data: OUTPUT is a folder with every plane as TIFF and load_data.csv, with the layout's
    columns as Metadata_....

    ro-crate: OUTPUT is a folder, a Workflow Run RO-Crate: the pipeline with its options, the raw
    files with their SHA-256, versions, runs, tables; plates and networks are named where they are.

    Formats of other packages: a function (experiment, Path, the option --name or None) -> str that
    writes the file or folder and says in a few words what is in it, as entry point 'i2r.exports'.

    Images need no export for programs that read OME-Zarr 0.5: plates/PLATE.ome.zarr of EXPERIMENT
    opens as it is in napari-ome-zarr, ome-zarr-py, ngio and zarr-python. Crops for PyTorch:
    i2r.CropDataset.
    """
    from i2r.store.experiment import open_experiment

    opened = open_experiment(experiment)
    target = Path(output)
    if not target.absolute().parent.is_dir():
        raise InputError(f"{output}: no folder {target.parent}. Make it first.")
    if kind in ("h5ad", "parquet"):
        written = _export_profiles(opened, kind, target, name, yes=yes)
    elif kind == "profiles":
        written = _export_averages(opened, target, name, by=by, normalise=normalise, yes=yes)
    elif kind == "ome-zarr":
        chosen = [well for text in wells for well in text.split(",") if well]
        written = _export_plates(opened, target, ngff, well_images, chosen, yes=yes)
    elif kind == "load-data":
        chosen = [well for text in wells for well in text.split(",") if well]
        written = _export_tiffs(opened, target, chosen)
    elif kind == "ro-crate":
        written = _export_crate(opened, target)
    elif kind == "graphml":
        written = _export_network(opened, target, name, yes=yes)
    elif kind == "csv":
        written = _export_tables(opened, target, name, yes=yes)
    else:
        confirm_overwriting(target, yes=yes)
        written = find_extension(GROUP, kind, what="format").load()(opened, target, name)
    click.echo(f"{written} -> {target}")


def _export_profiles(
    experiment: "Experiment", kind: str, target: Path, name: str | None, *, yes: bool
) -> str:
    from i2r.exports.h5ad import write_anndata
    from i2r.exports.parquet import write_parquet
    from i2r.exports.profiles import choose_profiles
    from i2r.pipeline.run import load_last_pipeline

    profiles = choose_profiles(experiment, name)
    say(f"{profiles.kind} of the stage {profiles.name!r}, {len(profiles.names)} per nucleus")
    confirm_overwriting(target, yes=yes)
    if kind == "parquet":
        number = write_parquet(profiles, target)
    else:
        pipeline = load_last_pipeline(experiment)
        kept = {"i2r_stage": profiles.name, "i2r_pipeline": pipeline.dump() if pipeline else {}}
        number = write_anndata(profiles, target, unstructured=kept)
    return f"{number:,} nuclei"


def _export_averages(
    experiment: "Experiment", target: Path, name: str | None, *, by: str, normalise: str, yes: bool
) -> str:
    from i2r.exports.averages import write_averages

    confirm_overwriting(target, yes=yes)
    number = write_averages(experiment, target, source=name or "", by=by, normalise=normalise)
    return f"profiles of {count_words(number, by)}"


def _export_plates(
    experiment: "Experiment",
    target: Path,
    ngff: str,
    well_images: str,
    wells: list[str],
    *,
    yes: bool,
) -> str:
    from i2r.exports.omezarr import check_target, write_omezarr

    check_target(target)
    confirm_overwriting(target, yes=yes)
    written = write_omezarr(
        experiment,
        target,
        ngff_version=ngff,  # type: ignore[arg-type]
        well_images=well_images,  # type: ignore[arg-type]
        wells=wells,
    )
    for note in written.notes:
        say(note)
    plates, of_wells = count_words(written.plates, "plate"), count_words(written.wells, "well")
    return f"{plates}, {of_wells}, {count_words(written.images, 'image')}, OME-Zarr {ngff}"


def _export_tiffs(experiment: "Experiment", target: Path, wells: list[str]) -> str:
    from i2r.exports.load_data import write_load_data

    _refuse_existing(target)
    return f"{count_words(write_load_data(experiment, target, wells=wells), 'field')} as TIFF"


def _export_crate(experiment: "Experiment", target: Path) -> str:
    from i2r.exports.crate import write_crate
    from i2r.pipeline.records import list_options

    _refuse_existing(target)
    options = list_options(experiment.last_pipeline() or {})
    return f"RO-Crate of {write_crate(experiment, target, options=options)} entities"


def _refuse_existing(target: Path) -> None:
    """Refuse a folder that is there: nobody could say what of it is the user's."""
    if target.exists():
        raise InputError(f"{target}: is there already, expected a new folder. Name another one.")


def _export_network(experiment: "Experiment", target: Path, name: str | None, *, yes: bool) -> str:
    from i2r.store.networks import write_network

    known = experiment.networks()
    if name is None:
        if len(known) != 1:
            listed = ", ".join(known) or "none yet"
            raise InputError(f"{experiment.url}: there are the networks {listed}. Give --name.")
        name = known[0]
    network = experiment.network(name)
    confirm_overwriting(target, yes=yes)
    write_network(str(target), network)
    return f"{len(network)} genes, {network.number_of_edges()} interactions"


def _write_csv(experiment: "Experiment", name: str, target: Path) -> int:
    """Write a table, or the layout, as one CSV file; give its rows.

    A table of all nuclei of a hundred plates is larger than a machine's memory.
    """
    from i2r.cli.table import write_rows
    from i2r.store.results import iterate_result

    frames = iter([experiment.layout]) if name == "layout" else iterate_result(experiment, name)
    return write_rows(frames, target)


def _export_tables(experiment: "Experiment", target: Path, name: str | None, *, yes: bool) -> str:
    from i2r.store.results import find_table

    if name is not None:
        # Asked for first: an unknown name is no reason to confirm anything.
        if name != "layout":
            find_table(experiment, name)
        confirm_overwriting(target, yes=yes)
        return f"{_write_csv(experiment, name, target):,} rows"
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: found a file, expected a folder for all tables. Name one.")
    names, unfinished = ["layout"], []
    for each in experiment.tables():
        try:
            find_table(experiment, each)
            names.append(each)
        except InputError:
            unfinished.append(each)
    if unfinished:
        say(f"not complete, left out: {', '.join(unfinished)}")
    for each in (found for found in names if (target / f"{found}.csv").exists()):
        confirm_overwriting(target / f"{each}.csv", yes=yes)
    target.mkdir(exist_ok=True)
    for each in names:
        _write_csv(experiment, each, target / f"{each}.csv")
    return f"{len(names)} tables"
