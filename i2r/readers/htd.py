"""MetaXpress .HTD files: which wells, sites and wavelengths a plate was imaged at."""

import csv
import io
from typing import NamedTuple

from i2r.errors import InputError
from i2r.store import files
from i2r.types import Well, find_format


class Settings(NamedTuple):
    """What a .HTD says of a plate.

    Attributes
    ----------
    waves
        Names of the wavelengths by their number, ``{"1": "DAPI"}``; a name of two wavelengths
        has the number added.
    n_sites
        Sites that were imaged in each well; they are numbered from 1.
    wells
        The wells that were imaged.
    plate_format
        Wells of the plate; 0 for a plate of another kind.
    """

    waves: dict[str, str]
    n_sites: int
    wells: frozenset[Well]
    plate_format: int = 0


def read_settings(url: str) -> Settings:
    """Read a .HTD: lines of a quoted key and its values, in the instrument's code page.

    Raises
    ------
    InputError
        If it is none, or misses what every .HTD has.
    """
    try:
        text = files.read_bytes(url).decode("latin-1")
    except OSError as error:
        raise InputError(
            f"{files.without_secrets(url)}: can't be opened ({error.strerror}), expected a .HTD of "
            "MetaXpress. Copy it again, or move it away."
        ) from error
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    values = {row[0]: [value.strip() for value in row[1:]] for row in rows if row}
    try:
        n_rows, n_columns = int(values["YWells"][0]), int(values["XWells"][0])
        wells = {
            Well(row, column)
            for row in range(1, n_rows + 1)
            for column in range(1, n_columns + 1)
            if values[f"WellsSelection{row}"][column - 1] == "TRUE"
        }
        n_sites = 1
        if values.get("Sites", ["FALSE"])[0] == "TRUE":
            selected = [values[f"SiteSelection{n}"] for n in range(1, int(values["YSites"][0]) + 1)]
            n_sites = sum(site == "TRUE" for row in selected for site in row)
        numbers = range(1, int(values.get("NWavelengths", ["0"])[0]) + 1)
        names = [values[f"WaveName{number}"][0] for number in numbers]
    except (KeyError, ValueError, IndexError) as error:
        wrong = "a line is too short" if isinstance(error, IndexError) else f"{error} is missing"
        if isinstance(error, ValueError):
            wrong = str(error)
        raise InputError(
            f"{files.without_secrets(url)}: no .HTD of MetaXpress ({wrong}). Copy it again, or "
            "move it away."
        ) from error
    waves = {
        str(number): f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in zip(numbers, names, strict=True)
    }
    return Settings(waves, n_sites, frozenset(wells), find_format(n_rows, n_columns))
