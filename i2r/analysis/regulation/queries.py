"""What genes are predicted for: profiles of new images or wells, as the map's genes have them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.analysis.embedding.profiles import Aggregate
from i2r.errors import I2RError
from i2r.kernels.profiles import Transform
from i2r.kernels.standardisation import LIMIT, invert_spread

Floats = npt.NDArray[np.float64]


class Queries(NamedTuple):
    """What is asked.

    Attributes
    ----------
    names : list of str
        One name per query.
    genes : list of str
        The gene that was perturbed where it is known, upper case, '' otherwise: it is not used,
        except that a gene of the training set is left out of the map for its own query.
    x : (q, d) or (q, n, d) float64
        Perturbation embeddings, as those of the training genes; or by the encoder of every
        training gene, see `i2r.analysis.regulation.gene_mapping.Problem`.
    """

    names: list[str]
    genes: list[str]
    x: Floats


def arrange_profiles(
    profiles: pd.DataFrame,
    names: Sequence[str],
    *,
    encoders: Mapping[str, str],
    genes: Sequence[str],
    where: str,
) -> Queries:
    """Put profiles into the order of the map's inputs.

    Parameters
    ----------
    profiles
        query, gene, encoder, n_nuclei and numbers: a row per query and encoder.
    names
        Columns of the map's inputs.
    encoders
        By training gene, the encoder that never saw it; '' names that of all other genes. With
        none, or one for all, queries have a row each.
    genes
        Training genes, in the map's order.
    where
        Where the profiles are from, for messages.

    Raises
    ------
    I2RError
        If a column or an encoder is missing.
    """
    missing = [name for name in names if name not in profiles]
    if missing:
        raise I2RError(
            f"{where}: lacks {len(missing)} of the {len(names)} columns that the map learned "
            f"from, such as {missing[0]!r}. Make it as the training table was made."
        )
    first = profiles.drop_duplicates("query")
    queries, own = first["query"].astype(str).tolist(), first["gene"].astype(str).tolist()
    default = encoders.get("", "")
    if set(encoders.values()) <= {default}:
        return Queries(queries, own, first[list(names)].to_numpy(dtype=float))
    wanted = [encoders.get(gene, default) for gene in genes]
    stack = []
    for query in queries:
        rows = profiles[profiles["query"] == query].set_index("encoder")
        if not set(wanted) <= set(rows.index):
            raise I2RError(
                f"{where}: query {query!r} has {len(rows)} profile(s), the map learned from "
                f"{len(set(wanted))} encoders that each leave a gene out. Ask about wells or "
                "images, which i2r embeds with all of them, or map with one encoder."
            )
        stack.append(rows.loc[wanted, list(names)].to_numpy(dtype=float))
    return Queries(queries, own, np.stack(stack))


def relate_features(
    nuclei: pd.DataFrame, names: Sequence[str], *, mean: Floats, spread: Floats, where: str
) -> pd.DataFrame:
    """Average features over nuclei, relative to control nuclei as the map's genes are.

    Parameters
    ----------
    nuclei
        query, gene, encoder, n_nuclei and features: a row per nucleus.
    names
        Features, in the order of ``mean`` and ``spread``.
    mean, spread
        Shape (feature,): of control nuclei. A feature without spread is 0.
    where
        Where the nuclei are from, for messages.

    Returns
    -------
    DataFrame
        A row per query.
    """
    missing = [name for name in names if name not in nuclei]
    if missing:
        raise I2RError(
            f"{where}: lacks {len(missing)} of the {len(names)} features that the map learned "
            f"from, such as {missing[0]!r}. Look at the options of the stage that measured them."
        )
    values = nuclei[list(names)].to_numpy(dtype=float)
    whole = np.isfinite(values).all(axis=1)
    standard = np.clip((values[whole] - mean) * invert_spread(mean, spread), -LIMIT, LIMIT)
    table = nuclei.loc[whole, ["query", "gene", "encoder", "n_nuclei"]].reset_index(drop=True)
    table = pd.concat([table, pd.DataFrame(standard, columns=list(names))], axis=1)
    grouped = table.groupby(["query", "gene", "encoder"], sort=False)
    profiles = grouped[list(names)].mean()
    profiles.insert(0, "n_nuclei", grouped["n_nuclei"].sum())
    return profiles.reset_index()


def correct_embeddings(
    profiles: pd.DataFrame,
    names: Sequence[str],
    transforms: Mapping[str, Transform],
    *,
    aggregate: Aggregate,
) -> pd.DataFrame:
    """Correct embeddings as a plate's are, and average those of nuclei.

    Parameters
    ----------
    profiles
        query, gene, encoder, n_nuclei and numbers: a row per query and encoder, or several.
    names
        Columns that are corrected.
    transforms
        By encoder, what its control nuclei said.
    aggregate
        Rows of a query and encoder to one.
    """
    columns, parts = list(names), []
    for (query, gene, encoder), rows in profiles.groupby(["query", "gene", "encoder"], sort=False):
        values = pd.DataFrame(transforms[encoder].apply(rows[columns]), columns=columns)
        described = {"query": query, "gene": gene, "encoder": encoder}
        own = pd.DataFrame({**described, "n_nuclei": rows["n_nuclei"].sum()}, index=[0])
        parts.append(pd.concat([own, values.agg([aggregate]).reset_index(drop=True)], axis=1))
    return pd.concat(parts, ignore_index=True)


def shift_embeddings(
    profiles: pd.DataFrame, names: Sequence[str], *, controls: pd.DataFrame, reference: pd.DataFrame
) -> pd.DataFrame:
    """Move embeddings so that the new controls lie where the experiment's do.

    Parameters
    ----------
    profiles, controls, reference
        encoder and numbers: rows of queries, of the new control images and of the experiment's
        control wells, the latter two with a row per encoder.
    names
        Columns that are moved.
    """
    columns = list(names)
    moves = reference.set_index("encoder")[columns] - controls.set_index("encoder")[columns]
    moved = profiles.copy()
    moved[columns] += moves.loc[profiles["encoder"]].to_numpy()
    return moved
