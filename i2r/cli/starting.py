"""The command that starts an experiment: a pipeline and a layout to fill in."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Literal

import rich_click as click

from i2r.cli.options import count_words
from i2r.errors import InputError, SeveralPlanesError

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
    pixel_size_um: {pixel_size}

  # Focus, saturation and background of every field; excludes what you list or limit.
  - stage: quality

  # Nuclei, found in this channel. Your own masks instead: method: import, masks: FOLDER
  - stage: segment
    channel: {nuclei}

  # One 64 x 64 tile per nucleus, everything outside it black (mask: false keeps it).
  - stage: crop

  # Every perturbation against the negative controls.
  - stage: screen
    channels: [{nuclei}]

  - stage: report
"""


@click.command()
@click.argument("directory", type=click.Path())
@click.option(
    "--source", required=True, help="Folder of images, OME-Zarr plate, or CSV table of files."
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
    source: str,
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
    Existing files are not touched.
    """
    from i2r.readers import ReaderOptions, find_reader
    from i2r.readers.nucleus_size import DEFAULT_UM, propose_pixel_size
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
    nuclei = next((n for n in named.values() if n.lower() in ("dna", "hoechst", "dapi")), None)
    pipeline.write_text(
        PIPELINE.format(
            name=pipeline.name,
            description=_quote(f"images of {source}"),
            source=_quote(where),
            layout=layout.name,
            pattern=pattern_line + chosen_lines,
            channels="{" + ", ".join(f"{_quote(k)}: {_quote(v)}" for k, v in named.items()) + "}",
            pixel_size=size or DEFAULT_UM,
            nuclei=_quote(nuclei or next(iter(named.values()))),
        ),
        encoding="utf-8",
    )
    for note in (*said, *notes, *doubts):
        click.echo(f"note: {note}")
    plates = count_words(images["plate"].nunique(), "plate")
    run = shlex.join([str(pipeline), str(target / "experiment")])
    click.echo(
        f"found {plates}, {count_words(len(wells), 'well')}, "
        f"{count_words(len(images), 'image')}, channels {', '.join(named)}\n"
        f"1. fill in {layout}: perturbation and role (treated, negative_control, ...) of wells\n"
        f"2. check {pipeline}: pixel size and channel names\n"
        f"3. i2r plan {run}\n"
        f"4. i2r run {run}"
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
