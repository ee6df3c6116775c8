"""Single-cell profiles as pycytominer takes them: Parquet with ``Metadata_`` and ``Nuclei_``."""

from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from i2r.errors import InputError
from i2r.exports import written_whole
from i2r.exports.profiles import Block, Profiles

# Names of the columns in CellProfiler's and pycytominer's convention.
METADATA = {
    "plate": "Metadata_Plate",
    "well": "Metadata_Well",
    "field": "Metadata_Site",
    "label": "Metadata_ObjectNumber",
    "perturbation": "Metadata_perturbation",
    "gene": "Metadata_gene",
    "condition": "Metadata_condition",
    "role": "Metadata_role",
    "replicate": "Metadata_replicate",
    "dose": "Metadata_dose",
}


def write_parquet(profiles: Profiles, target: Path) -> int:
    """Write profiles as one Parquet file, a row group per well, never more than one in memory.

    Parameters
    ----------
    profiles
        What to write.
    target
        The file; it is there only when it is complete.

    Returns
    -------
    int
        The number of nuclei.

    Raises
    ------
    InputError
        If there is no nucleus at all.
    """
    n_nuclei = 0
    with written_whole(target) as partial, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for block in profiles.blocks():
            table = pa.Table.from_pandas(to_columns(block, profiles.names), preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(partial, table.schema, compression="zstd")
                stack.enter_context(writer)
            writer.write_table(table)
            n_nuclei += len(block.described)
        if not n_nuclei:
            raise InputError(f"stage {profiles.name!r}: no nuclei to write. See 'i2r status'.")
        stack.close()
    return n_nuclei


def to_columns(block: Block, names: list[str]) -> pd.DataFrame:
    """Name the columns of one well's nuclei: what is known, then ``Nuclei_`` and the feature."""
    known = block.described.rename(columns=lambda name: METADATA.get(name, f"Metadata_{name}"))
    known = known.assign(Metadata_x_um=block.positions[:, 0], Metadata_y_um=block.positions[:, 1])
    values = pd.DataFrame(block.values, columns=[f"Nuclei_{name}" for name in names])
    return pd.concat([known, values], axis="columns")
