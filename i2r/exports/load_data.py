"""TIFF files with CellProfiler's table of them, ``load_data.csv``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import tifffile

from i2r.exports import written_whole
from i2r.exports.omezarr import choose_wells
from i2r.store.arrays import read_array
from i2r.store.catalog import quote_name
from i2r.store.experiment import Experiment


def write_load_data(experiment: Experiment, target: Path, *, wells: Sequence[str] = ()) -> int:
    """Write every converted plane as a TIFF, and the table that CellProfiler's LoadData reads.

    Columns: Metadata_Plate, Metadata_Well, Metadata_Site, what the layout says of the well as
    Metadata_..., and FileName_Orig<channel>, PathName_Orig<channel> of every channel.

    Parameters
    ----------
    experiment
        The experiment.
    target
        The folder; it is there only when it is complete.
    wells
        As for `i2r.exports.omezarr.write_omezarr`.

    Returns
    -------
    int
        The number of fields.
    """
    rows = []
    with written_whole(target) as folder:
        folder.mkdir()
        for plate_name, keys in choose_wells(experiment, wells).items():
            plate = experiment.plates[plate_name]
            place = folder / quote_name(plate_name)
            place.mkdir()
            final = str((target / quote_name(plate_name)).absolute())
            for key in keys:
                described = _describe_well(experiment, key)
                well = experiment.wells[key].well
                for field in experiment.fields(key, ["convert"]):
                    row = {**described, "Metadata_Site": field}
                    image = read_array(f"{experiment.image_url(key, field)}/0")
                    for channel, plane in zip(plate.channels, image, strict=True):
                        name = f"{well}_s{field}_{quote_name(channel)}.tif"
                        tifffile.imwrite(place / name, plane, compression="zlib")
                        row[f"FileName_Orig{channel}"] = name
                        row[f"PathName_Orig{channel}"] = final
                    rows.append(row)
        pd.DataFrame(rows).to_csv(folder / "load_data.csv", index=False)
    return len(rows)


def _describe_well(experiment: Experiment, key: str) -> dict[str, str]:
    """Give what the layout says of a well, as CellProfiler names it."""
    well = experiment.layout_by_key.loc[key]
    names = ("perturbation", "gene", "dose", "role", "replicate", "condition")
    more = {f"Metadata_{name}": str(well[name]) for name in names if name in well}
    return {"Metadata_Plate": str(well["plate"]), "Metadata_Well": str(well["well"]), **more}
