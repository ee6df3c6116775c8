"""The printed survey of a source: plate map, channels, gaps and duplicates."""

import pandas as pd
import rich_click as click

from i2r.errors import InputError
from i2r.stages.base import Stage
from i2r.types import PLATE_FORMATS, Well, parse_well


def print_survey(stage: Stage) -> None:
    """Print what a stage would bring in, without writing anything.

    Raises
    ------
    InputError
        If the source can't be used as described, or the stage brings nothing in.
    """
    survey = stage.survey()
    if survey is None:
        raise InputError(f"stage {stage.title!r} brings no images in. Look at 'convert'.")
    layout, sources = survey.layout, survey.sources
    for plate, rows in layout.groupby("plate", sort=True):
        images = sources[sources["plate"] == plate]
        first = rows.iloc[0]
        click.echo(
            f"plate {plate}: {len(rows)} wells, {int(rows['n_fields'].sum())} fields of "
            f"{first['height_px']} x {first['width_px']} px {first['dtype']}, "
            f"channels {', '.join(first['channels'])}"
        )
        click.echo(draw_plate_map(rows))
        for line in list_gaps(rows, images):
            click.echo(f"  gap: {line}")
    for note in survey.notes:
        click.echo(f"note: {note}")
    roles = layout["role"].value_counts()
    click.echo(
        f"{len(layout)} wells: {', '.join(f'{n} {role}' for role, n in roles.items())}; "
        f"{layout['perturbation'].nunique()} perturbations; no duplicates"
    )


def draw_plate_map(rows: pd.DataFrame) -> str:
    """Draw a plate as text: the number of fields of every well.

    Parameters
    ----------
    rows
        The plate's rows of the layout.

    Returns
    -------
    str
        One line per row of the smallest plate format that holds the wells: ``.`` where there is
        no well, ``+`` for ten fields or more; ``-`` in front of negative and ``*`` in front of
        positive controls.
    """
    wells = {parse_well(row.well): row for row in rows.itertuples()}
    n_rows, n_columns = next(
        size
        for _, size in sorted(PLATE_FORMATS.items())
        if all(well.row <= size[0] and well.column <= size[1] for well in wells)
    )
    marks = {"negative_control": "-", "positive_control": "*"}
    lines = ["     " + "".join(f"{column:3d}" for column in range(1, n_columns + 1))]
    for number in range(1, n_rows + 1):
        cells = []
        for column in range(1, n_columns + 1):
            row = wells.get(Well(number, column))
            count = "." if row is None else (str(row.n_fields) if row.n_fields < 10 else "+")
            cells.append(f"{marks.get(row.role, ' ') if row is not None else ' '}{count}".rjust(3))
        lines.append(f"  {Well(number, 1).row_name:>2} " + "".join(cells))
    return "\n".join(lines)


def list_gaps(rows: pd.DataFrame, images: pd.DataFrame) -> list[str]:
    """List wells with fewer fields than most, and fields without some channel's file.

    Parameters
    ----------
    rows, images
        The plate's rows of the layout and of the sources.
    """
    usual = int(rows["n_fields"].mode().iloc[0])
    gaps = [
        f"well {row.well} has {row.n_fields} fields, most have {usual}"
        for row in rows.itertuples()
        if row.n_fields < usual
    ]
    expected = set(rows["channels"].iloc[0])
    for (well, field), files in images.groupby(["well", "field"], sort=False):
        present = set(files.loc[files["size_bytes"] >= 0, "channel"])
        gaps += [
            f"well {well} field {field} has no file of {c}" for c in sorted(expected - present)
        ]
    return gaps
