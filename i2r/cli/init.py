"""The command that starts an experiment: a pipeline and a layout to fill in."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich_click as click

from i2r.cli.options import get_voice, say
from i2r.errors import InputError, SeveralPlanesError, count_words, name_some

if TYPE_CHECKING:
    import pandas as pd

PIPELINE = """\
# A pipeline for i2r: which stages run on your images, with which options.
# 'i2r STAGE --help' lists a stage's options; paths are relative to this file.
# See what i2r finds:     i2r plan {name} EXPERIMENT
# Run it, and resume it:  i2r run {name} EXPERIMENT
seed: 0
description: {description}
stages:
  - stage: convert
    source: {source}
    layout: {layout}
{pattern}    # Names for your channels; list the one that shows the nuclei as DNA.
    channels: {channels}
    # CHECK THIS: camera pixel / magnification, often 0.65 at 10x binned 1 or 20x binned 2.
    {pixel_size}

  # Focus, saturation and background of every field; excludes what you list or limit.
  - stage: quality

  # Nuclei, found in this channel. Your own masks instead: method: import, masks: FOLDER
  - stage: segment
    channel: {nuclei}

  # One 64 x 64 tile per nucleus, everything outside it black (mask: false keeps it).
  - stage: crop

  # About 80 numbers of shape and chromatin per nucleus, each with its name.
  - stage: features
    channels: [{nuclei}]

  # Every perturbation against the negative controls, by these features: seconds, and p-values with
  # few controls. A network on the crops instead (hours; needs PyTorch): method: cnn
  - stage: screen
    method: fast

  - stage: report
"""


@click.command()
@click.argument("directory", type=click.Path())
@click.option("--source", help="Folder of images, OME-Zarr plate, or CSV table of files.")
@click.option(
    "--update",
    is_flag=True,
    help="Add rows for new wells to the layout of DIRECTORY; its other rows and the pipeline stay.",
)
@click.option(
    "--pattern",
    help="Regular expression for file names with the groups plate, well (or row, column), "
    "field, channel, e.g. '(?P<well>[A-P]\\d+)_s(?P<field>\\d)_w(?P<channel>\\d)'. "
    "Not for tables, nor for what a reader knows by itself.",
)
@click.option("--plate", help="Plate name, where the files name none.")
@click.option("--pixel-size-um", type=float, help="Edge of a pixel in microns.")
@click.option(
    "--z", help="Focal planes: max (the default where there are several) or the index of one."
)
@click.option("--time", type=int, help="Index of the time point to take, from 0.")
@click.option("--acquisition", type=int, help="Acquisition to take, of a plate that has several.")
@click.option(
    "--channels",
    help="Channels to take, by the source's names, with names of yours: w1=DNA,w2=ER.",
)
def init(
    directory: str,
    source: str | None,
    update: bool,
    pattern: str | None,
    plate: str | None,
    pixel_size_um: float | None,
    z: str | None,
    time: int | None,
    acquisition: int | None,
    channels: str | None,
) -> None:
    """Make DIRECTORY with a commented pipeline.yaml and a layout.csv to fill in.

    Looks at the source, lists every well it finds in layout.csv, and prints what to do next.
    Existing files are not touched. When a plate comes later, --update looks again at where
    pipeline.yaml takes images from, and adds its wells to the layout that pipeline.yaml names.
    """
    if update:
        others = {
            "--source": source, "--pattern": pattern, "--plate": plate, "--z": z, "--time": time,
            "--pixel-size-um": pixel_size_um, "--acquisition": acquisition, "--channels": channels,
        }  # fmt: skip
        if given := [name for name, value in others.items() if value is not None]:
            raise InputError(
                f"--update: found {', '.join(given)} too. How images are read stands in "
                f"{Path(directory) / 'pipeline.yaml'}: change it there, and give --update alone."
            )
        update_layout(directory)
        return
    if source is None:
        raise InputError("--source: not given, expected where the images are. Give it.")
    from i2r.readers import ReaderOptions, find_reader
    from i2r.readers.nucleus_size import find_nuclear_channel, propose_pixel_size
    from i2r.readers.pattern import describe_naming, list_images
    from i2r.readers.suggestions import suggest_naming
    from i2r.store import files

    target = Path(directory)
    pipeline, layout = target / "pipeline.yaml", target / "layout.csv"
    for file in (pipeline, layout):
        if file.exists():
            raise InputError(f"{file}: exists already. Name another folder, or move it away.")
    where = files.normalise_url(source)
    said = []
    scan = find_reader("auto", where, pattern=pattern)
    if pattern is None and scan.__module__.endswith(".pattern"):
        names = list_images(where)
        if naming := suggest_naming(names):
            pattern = naming.pattern
            of = f"names of {naming.instrument}" if naming.instrument else "names read"
            said.append(f"{of}, by the pattern '{pattern}', {describe_naming(naming, len(names))}")
    options = ReaderOptions(
        pattern=pattern,
        plate=plate,
        z=_read_z(z),
        time="refuse" if time is None else time,
        acquisition=acquisition,
        channels=_read_channels(channels),
    )
    try:
        images, notes = scan(where, options)
    except SeveralPlanesError:
        images, notes = scan(where, replace(options, z="max"))
    n_planes = images.groupby(["plate", "well", "field", "channel"])["z"].nunique()
    if z is None and n_planes.max() > 1:
        z = "max"
        said.append(
            f"up to {n_planes.max()} focal planes per field: 'z: max' takes their maximum; "
            "--z takes one of them"
        )
    named = dict(options.channels)
    if not named:
        found = sorted(images["channel"].unique())
        named = {name: "DNA" if len(found) == 1 else name for name in found}
    size, doubts = propose_pixel_size(images, pixel_size_um)
    files.check_writable(str(target))
    wells = images[["plate", "well"]].drop_duplicates()
    wells.assign(perturbation="", gene="", dose="", role="").to_csv(layout, index=False)
    pattern_line = f"    pattern: {_quote(pattern)}\n" if pattern else ""
    chosen = {
        "plate": _quote(plate) if plate else None,
        "z": z,
        "time": time,
        "acquisition": acquisition,
    }
    chosen_lines = "".join(f"    {k}: {v}\n" for k, v in chosen.items() if v is not None)
    nuclei = find_nuclear_channel(named.values())
    content = PIPELINE.format(
        name=pipeline.name,
        description=_quote(f"images of {source}"),
        source=_quote(where),
        layout=layout.name,
        pattern=pattern_line + chosen_lines,
        channels="{" + ", ".join(f"{_quote(k)}: {_quote(v)}" for k, v in named.items()) + "}",
        # Where files contradict each other, nobody but the user knows.
        pixel_size=f"pixel_size_um: {size}" if size else "# pixel_size_um: 0.65",
        nuclei=_quote(nuclei or next(iter(named.values()))),
    )
    pipeline.write_text(content, encoding="utf-8")
    _tell([*said, *notes, *doubts], images, named, target)


def _tell(notes: list[str], images: "pd.DataFrame", channels: dict[str, str], target: Path) -> None:
    """Say what was found and what to do next."""
    if get_voice().level < 0:
        return
    for note in notes:
        click.echo(f"note: {note}")
    pipeline, layout = target / "pipeline.yaml", target / "layout.csv"
    plates = count_words(images["plate"].nunique(), "plate")
    n_wells = len(images[["plate", "well"]].drop_duplicates())
    run = shlex.join([str(pipeline), str(target / "experiment")])
    click.echo(
        f"found {plates}, {count_words(n_wells, 'well')}, "
        f"{count_words(len(images), 'image')}, channels {', '.join(channels)}\n"
        f"1. fill in {layout}: perturbation and role (treated, negative_control, ...) of wells\n"
        f"2. check {pipeline}: pixel size and channel names\n"
        f"3. i2r plan {run}\n"
        f"4. i2r run {run}"
    )


def update_layout(directory: str) -> None:
    """Add the wells that the pipeline's source has, and the layout has not, to the layout.

    Parameters
    ----------
    directory
        Made by ``i2r init``.

    Raises
    ------
    InputError
        If there is no such pipeline, or the layout can't be added to.
    """
    from i2r.pipeline.spec import load_pipeline
    from i2r.stages.convert import Convert
    from i2r.store.layout_rows import add_wells

    file = Path(directory) / "pipeline.yaml"
    if not file.exists():
        raise InputError(f"{file}: not there, expected what 'i2r init' made. Name its folder.")
    stages = [s for s in load_pipeline(str(file)).stages if isinstance(s, Convert)]
    if not stages:
        raise InputError(f"{file}: no stage 'convert', which would say where images are.")
    convert = stages[0]
    images, notes = convert.scan()
    if convert.plates:
        images = images[images["plate"].isin(convert.plates)]
    wells = images[["plate", "well"]].drop_duplicates()
    added, absent = add_wells(convert.layout, wells)
    for note in notes:
        say(f"note: {note}")
    if absent:
        wells_are = f"{count_words(len(absent), 'well')} of the layout without images"
        say(f"note: {wells_are}: {name_some(absent)}; the rows stay")
    if get_voice().level >= 0:
        click.echo(
            f"{convert.layout}: {count_words(added, 'row')} added, "
            f"{count_words(len(wells), 'well')} have images. "
            + ("Fill in their perturbation and role." if added else "Nothing to fill in.")
        )


def _read_z(text: str | None) -> Literal["refuse", "max"] | int:
    """Read the option --z."""
    if text is None or text == "max":
        return "refuse" if text is None else "max"
    if not text.isdecimal():
        raise InputError(f"--z {text}: expected max, or the index of a focal plane. Correct it.")
    return int(text)


def _read_channels(text: str | None) -> dict[str, str]:
    """Read the option --channels: names of the source, each with one of the user's or alone."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    return {raw.strip(): (own or raw).strip() for raw, _, own in pairs}


def _quote(text: str) -> str:
    """Quote a text for YAML."""
    return "'" + text.replace("'", "''") + "'"
