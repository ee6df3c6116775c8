"""Expression signatures in the Connectivity Map's HDF5 format: one mean signature per gene.

Subramanian et al. 2017 (10.1016/j.cell.2017.10.049): a matrix of signatures by measured genes,
of which the 978 landmark genes are measured and the others inferred from them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from i2r.errors import InputError
from i2r.formats.cell_matrices import check_size
from i2r.store import files
from i2r.store.frames import read_columns

MATRIX, ROWS, COLUMNS = "0/DATA/0/matrix", "0/META/ROW", "0/META/COL"
# Columns with the perturbed gene, before 2020 and since.
_NAMES = ("pert_iname", "cmap_name")
# Signatures are read in blocks of this many bytes.
BLOCK_BYTES = 2**26


def read_signatures(
    url: str, *, info: str = "", block_bytes: int = BLOCK_BYTES
) -> tuple[list[str], npt.NDArray[np.float64], list[str]]:
    """Average the signatures of every perturbed gene, in bounded memory.

    Parameters
    ----------
    url
        A .gctx file with the perturbed gene of each column in ``META/COL/pert_iname``, or in
        ``cmap_name`` as since 2020, unless ``info`` has it. Columns
        whose ``pert_type`` starts with ``ctl`` are controls and left out. Where ``META/ROW`` flags
        landmark genes (``pr_is_lm`` or ``feature_space``), only these are taken.
    info
        The table of signatures (sig_info): ``sig_id`` as in ``META/COL/id``, ``pert_iname`` or
        ``cmap_name``, and ``pert_type``; empty for none.
    block_bytes
        Most memory that one block of signatures takes.

    Returns
    -------
    genes : list of str
        Perturbed genes, upper case, sorted.
    values : (gene, measured) float64
        Means over signatures.
    names : list of str
        What was measured: ``pr_gene_symbol`` where there is one, otherwise the row's id.

    Raises
    ------
    InputError
        If it can't be read, names no perturbed genes, has treatments of several types, or values
        that are not numbers.
    """
    with _open(url) as file:
        matrix = file[MATRIX]
        rows, columns = file[ROWS], file[COLUMNS]
        measured = _read_texts(rows, "pr_gene_symbol") or _read_texts(rows, "id")
        chosen = _choose_rows(rows, len(measured))
        perturbed = _read_perturbed(columns, url, info)
        _check_shape(matrix, len(perturbed), len(measured))
        genes, means = _average(matrix, perturbed, chosen, block_bytes)
    if not np.isfinite(means).all():
        raise InputError(
            f"{url}: {int((~np.isfinite(means)).sum())} means are not finite numbers, expected "
            "none. Leave the signatures with missing values out."
        )
    return genes, means, [measured[row] for row in chosen]


def read_measurements(url: str) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read all signatures but controls, one by one: what was measured, and (signature, measured).

    Raises
    ------
    InputError
        If it can't be read, or is too large to hold.
    """
    with _open(url) as file:
        matrix, columns = file[MATRIX], file[COLUMNS]
        measured = _read_texts(file[ROWS], "pr_gene_symbol") or _read_texts(file[ROWS], "id")
        types = _read_texts(columns, "pert_type") or [""] * int(matrix.shape[0])
        _check_shape(matrix, len(types), len(measured))
        check_size(url, matrix.shape)
        kept = ~np.array([kind.startswith("ctl") for kind in types], dtype=bool)
        return measured, np.asarray(matrix[:], dtype=np.float32)[kept]


def _check_shape(matrix: Any, n_signatures: int, n_measured: int) -> None:
    if matrix.shape != (n_signatures, n_measured):
        raise ValueError(
            f"a matrix of {matrix.shape} for {n_signatures} columns and {n_measured} rows"
        )


@contextmanager
def _open(url: str) -> Iterator[Any]:
    """Open a file, and say in a line what is wrong with one that is damaged."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{url}: GCTX needs h5py. Install i2r with the extra 'omics'.") from error
    try:
        with files.open_file(url) as stream, h5py.File(stream, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file. Give the path of one.") from error
    except InputError:
        raise
    except Exception as error:  # a damaged file may end anywhere in HDF5's reader
        detail = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{url}: no readable GCTX file ({detail}). Export it again.") from error


def _read_texts(group: Any, name: str) -> list[str]:
    """Read a column of names or numbers as text; nothing where there is none."""
    if name not in group:
        return []
    values = group[name][()].ravel().tolist()
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _choose_rows(rows: Any, n: int) -> npt.NDArray[np.intp]:
    """Choose the landmark genes where they are flagged, otherwise all."""
    for name in ("pr_is_lm", "feature_space"):
        flags = _read_texts(rows, name)
        landmark = np.array([f.strip() in ("1", "1.0", "landmark") for f in flags], dtype=bool)
        if landmark.any():
            return np.flatnonzero(landmark)
    return np.arange(n)


def _read_perturbed(columns: Any, url: str, info: str) -> list[str]:
    """Read the perturbed gene of every signature; '' for controls."""
    described = _read_info(_read_texts(columns, "id"), url, info) if info else {
        name: _read_texts(columns, name) for name in (*_NAMES, "pert_type")
    }  # fmt: skip
    found = next((own for name in _NAMES if (own := described.get(name))), [])
    names = [name.strip().upper() for name in found]
    if not names:
        raise InputError(
            f"{url}: no META/COL/pert_iname or cmap_name, expected the perturbed gene of every "
            "signature. Give the table of signatures (sig_info) as 'signature_info'."
        )
    types = described.get("pert_type") or [""] * len(names)
    treatments = sorted({kind for kind in types if not kind.startswith("ctl")})
    if len(treatments) > 1:
        raise InputError(
            f"{url}: treatments of {len(treatments)} types ({', '.join(treatments[:4])}), expected "
            "one: they would be averaged together. Export one type alone."
        )
    return [
        "" if kind.startswith("ctl") or name in ("-666", "NAN") else name
        for name, kind in zip(names, types, strict=True)
    ]


def _read_info(ids: list[str], url: str, info: str) -> dict[str, list[str]]:
    """Read what the table of signatures says of each column, in the order of the columns."""
    _, table = read_columns(info, as_text=True)
    if "sig_id" not in table:
        raise InputError(
            f"{info}: no column 'sig_id', found {', '.join(map(str, table.columns[:6]))}. Give "
            "the table of signatures (sig_info)."
        )
    table = table.drop_duplicates("sig_id").set_index("sig_id")
    absent = [name for name in ids if name not in table.index]
    if absent or not ids:
        raise InputError(
            f"{info}: {len(absent)} of {len(ids)} signatures of {url} are not in it, such as "
            f"{(absent or ['none'])[0]!r}. Give the table of the same release."
        )
    taken = table.loc[ids]
    return {name: taken[name].tolist() for name in (*_NAMES, "pert_type") if name in taken}


def _average(
    matrix: Any, perturbed: Sequence[str], chosen: npt.NDArray[np.intp], block_bytes: int
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Sum signatures up by gene, block after block."""
    genes = sorted(set(perturbed) - {""})
    if not genes:
        raise ValueError("no signature of a perturbed gene")
    place = {gene: row for row, gene in enumerate(genes)}
    of_column = np.array([place.get(name, -1) for name in perturbed])
    sums, counts = np.zeros((len(genes), len(chosen))), np.zeros(len(genes))
    # A row of the file is read whole: it is compressed in such pieces.
    step = max(1, block_bytes // max(1, matrix.shape[1] * 8))
    for start in range(0, len(of_column), step):
        own = of_column[start : start + step]
        block = matrix[start : start + step][own >= 0][:, chosen]
        np.add.at(sums, own[own >= 0], block)
        np.add.at(counts, own[own >= 0], 1)
    return genes, sums / counts[:, None]
