"""Profiles of wells, conditions or genes as pycytominer and copairs take them."""

from pathlib import Path
from typing import Any

from i2r.exports import written_whole
from i2r.exports.parquet import METADATA
from i2r.store.experiment import Experiment
from i2r.store.well_profiles import DESCRIBED

COUNT = {"n_nuclei": "Metadata_Object_Count"}


def write_averages(
    experiment: Experiment, target: Path, *, source: str, by: Any, normalise: Any
) -> int:
    """Write profiles as one table: CSV, or Parquet where the name ends in ``.parquet``.

    Columns that describe a row get ``Metadata_`` in front (``Metadata_Plate``, ``Metadata_Well``,
    ``Metadata_Object_Count``), features ``Nuclei_``, as CellProfiler names its compartments.

    Parameters
    ----------
    experiment
        The experiment.
    target
        The file; it is there only when it is complete.
    source, by, normalise
        See `i2r.store.well_profiles.make_profiles`.

    Returns
    -------
    int
        Rows written.
    """
    table = experiment.profiles(by, source=source, normalise=normalise)
    of_layout = {*DESCRIBED, *experiment.layout.columns}
    names = {
        str(name): {**METADATA, **COUNT}.get(str(name), f"Metadata_{name}")
        if name in of_layout
        else str(name)
        if str(name).startswith(("Nuclei_", "Cells_", "Cytoplasm_"))
        else f"Nuclei_{name}"
        for name in table
    }
    named = table.rename(columns=names)
    with written_whole(target) as partial:
        if target.suffix.lower() in (".parquet", ".pq"):
            named.to_parquet(partial, index=False)
        else:
            named.to_csv(partial, index=False)
    return len(named)
