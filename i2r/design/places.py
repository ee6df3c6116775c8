"""Where wells lie: every plate shuffled, its controls spread over it."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.types import PLATE_FORMATS, Well

Indices = npt.NDArray[np.intp]


def name_grid(plate_format: int) -> tuple[Indices, Indices]:
    """Give the rows and columns, from 0, of all wells of a plate, row by row."""
    n_rows, n_columns = PLATE_FORMATS[plate_format]
    rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
    return rows.astype(np.intp), columns.astype(np.intp)


def spread_controls(
    used: Indices, number: int, plate_format: int, random: np.random.Generator
) -> Indices:
    """Choose wells for controls, one at random in each of so many parts of the wells in use.

    The wells are cut into parts of nearly equal size, first by columns and then by rows: controls
    lie where conditions lie, and on no side more than on others.
    """
    rows, columns = name_grid(plate_format)
    height, width = np.ptp(rows[used]) + 1, np.ptp(columns[used]) + 1
    bands = int(np.clip(round(np.sqrt(number * width / height)), 1, number))
    share = np.diff(np.linspace(0, number, bands + 1).round().astype(int))
    by_column = used[np.lexsort([rows[used], columns[used]])]
    edges = np.round(np.cumsum(share)[:-1] * used.size / number).astype(int)
    chosen: list[int] = []
    for band, count in zip(np.split(by_column, edges), share, strict=True):
        by_row = band[np.lexsort([columns[band], rows[band]])]
        chosen += [int(random.choice(part)) for part in np.array_split(by_row, count)]
    return np.array(sorted(chosen), dtype=np.intp)


def deal_plate(
    conditions: int,
    controls: int,
    plate_format: int,
    random: np.random.Generator,
    *,
    per_plate: int = 1,
) -> Indices:
    """Deal conditions, so many wells of each, and controls to the wells of a plate.

    Returns
    -------
    ndarray, shape (well,)
        The condition of each well, row by row; -1 for controls, -2 for wells that stay empty,
        which are those at the rim, where evaporation is strongest.

    Raises
    ------
    ValueError
        If there are more than there are wells.
    """
    treated = conditions * per_plate
    if treated + controls > plate_format:
        raise ValueError(
            f"{treated} wells of conditions and {controls} of controls in {plate_format} wells"
        )
    rows, columns = name_grid(plate_format)
    depth = np.minimum.reduce([rows, columns, rows.max() - rows, columns.max() - columns])
    used = np.lexsort([random.random(plate_format), -depth])[: treated + controls]
    dealt = np.full(plate_format, -2, dtype=np.intp)
    dealt[used] = -3
    dealt[spread_controls(np.sort(used), controls, plate_format, random)] = -1
    dealt[dealt == -3] = random.permutation(treated) % conditions
    return dealt


def write_layout(
    names: list[str],
    *,
    replicates: int,
    controls: int,
    plate_format: int,
    seed: int,
    per_plate: int = 1,
) -> pd.DataFrame:
    """Make the layout of a screen: every replicate plate is shuffled anew.

    Parameters
    ----------
    names
        Of the conditions; as many as fit go on the first set of plates, the rest on the next.
    replicates, controls, plate_format, seed, per_plate
        See `i2r.design.power.Plan`.

    Returns
    -------
    DataFrame
        plate, well, perturbation, role: what 'i2r run' takes.
    """
    random = np.random.default_rng(seed)
    rows, columns = name_grid(plate_format)
    wells = [Well(int(r) + 1, int(c) + 1).name for r, c in zip(rows, columns, strict=True)]
    capacity = (plate_format - controls) // per_plate
    parts = [
        list(p) for p in np.array_split(np.array(names, dtype=object), -(-len(names) // capacity))
    ]
    found = []
    for number, part in enumerate(parts, start=1):
        for replicate in range(1, replicates + 1):
            dealt = deal_plate(len(part), controls, plate_format, random, per_plate=per_plate)
            plate = f"R{replicate}" if len(parts) == 1 else f"S{number}R{replicate}"
            for well, condition in zip(wells, dealt, strict=True):
                if condition > -2:
                    named = "control" if condition < 0 else str(part[condition])
                    role = "negative_control" if condition < 0 else "treated"
                    found.append((plate, well, named, role))
    return pd.DataFrame(found, columns=["plate", "well", "perturbation", "role"])
