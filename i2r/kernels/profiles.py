"""Profiles of wells from embeddings of nuclei: correction by controls, and reproducibility."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Correction = Literal["none", "standardize-to-controls", "sphering"]
Seed = int | np.random.SeedSequence

# Share of the mean variance that is added to every direction's before it is divided by: directions
# in which the controls hardly vary would otherwise be blown up to noise. Ando et al. (2017,
# doi:10.1101/161422) regularise likewise.
SPHERING_RIDGE = 0.01
# Sets of wells that a p-value below 0.05 needs.
LEAST_SETS = 21
# Wells whose similarities to all others are held at once.
ROWS_AT_ONCE = 256


class Transform(NamedTuple):
    """What takes embeddings of one plate or batch to corrected ones: (x - shift) @ matrix.

    Attributes
    ----------
    shift
        Shape (dim,).
    matrix
        Shape (dim, dim), or (dim,) for a diagonal one.
    """

    shift: Floats
    matrix: Floats

    def apply(self, embeddings: npt.ArrayLike) -> Floats:
        """Correct embeddings, shape (n, dim)."""
        centred = np.asarray(embeddings, dtype=np.float64) - self.shift
        corrected: Floats = (
            centred @ self.matrix if self.matrix.ndim == 2 else centred * self.matrix
        )
        return corrected


class Moments(NamedTuple):
    """Sums over nuclei, from which mean and covariance follow; they add up over wells.

    Attributes
    ----------
    n
        Nuclei.
    total
        Shape (dim,): sum of the embeddings.
    products
        Shape (dim, dim): sum of their outer products.
    """

    n: int
    total: Floats
    products: Floats

    def add(self, embeddings: npt.ArrayLike) -> "Moments":
        """Add the nuclei of a well, shape (n, dim)."""
        values = np.asarray(embeddings, dtype=np.float64)
        return Moments(
            self.n + len(values), self.total + values.sum(axis=0), self.products + values.T @ values
        )


def start_moments(n_dims: int) -> Moments:
    """Start with no nuclei."""
    return Moments(0, np.zeros(n_dims), np.zeros((n_dims, n_dims)))


def fit_correction(controls: Moments, method: Correction) -> Transform:
    """Learn from the controls of a plate or batch how to correct it.

    Parameters
    ----------
    controls
        Of the negative controls' nuclei.
    method
        ``none`` changes nothing. ``standardize-to-controls`` subtracts the controls' mean and
        divides by their standard deviation; a constant direction is only centred. ``sphering``
        makes the controls' covariance, and so what varies between cells alike, the identity
        (ZCA, Kessy et al. 2018, doi:10.1080/00031305.2016.1277159).

    Returns
    -------
    Transform
        For the embeddings of all wells of that plate or batch.

    Raises
    ------
    ValueError
        If there are fewer than two control nuclei to learn from.
    """
    n_dims = controls.total.size
    if method == "none":
        return Transform(np.zeros(n_dims), np.ones(n_dims))
    if controls.n < 2:
        raise ValueError(f"{controls.n} control nuclei, expected two or more to correct by")
    mean = controls.total / controls.n
    covariance = controls.products / controls.n - np.outer(mean, mean)
    if method == "standardize-to-controls":
        deviation = np.sqrt(np.clip(covariance.diagonal(), 0, None))
        tiny = deviation <= 1e-6 * max(1e-30, float(np.abs(mean).max()))
        return Transform(mean, 1 / np.where(tiny, 1.0, deviation))
    values, vectors = np.linalg.eigh(covariance)
    values = np.clip(values, 0, None)
    ridge = SPHERING_RIDGE * values.mean()
    scale = np.where(values + ridge > 0, 1 / np.sqrt(np.maximum(values + ridge, 1e-300)), 1.0)
    return Transform(mean, (vectors * scale) @ vectors.T)


class Retrieval(NamedTuple):
    """How well the wells of one label find each other.

    Attributes
    ----------
    precision
        Mean average precision over its wells: 1 if every other well of the label is nearer than
        any well that it is compared with.
    null_mean
        The same for wells drawn at random.
    p_value
        Share of draws at least as good, the observed wells counted among them.
    """

    precision: float
    null_mean: float
    p_value: float


def rank_neighbours(profiles: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Rank the others around every well by cosine similarity.

    Parameters
    ----------
    profiles
        Shape (well, dim); one of length 0 is similar to none.

    Returns
    -------
    ndarray of int32, shape (well, well)
        In row i: how many wells beside i are at least as similar to it as j, so that ties count
        against; the largest integer for i itself.
    """
    rows = np.asarray(profiles, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    n = len(rows)
    ranks = np.empty((n, n), dtype=np.int32)
    for start in range(0, n, ROWS_AT_ONCE):
        stop = min(n, start + ROWS_AT_ONCE)
        # Rounded, so that equal profiles tie whatever the order of the sums.
        similarity = np.round(rows[start:stop] @ rows.T, 12)
        own = np.arange(start, stop)
        similarity[own - start, own] = -np.inf
        ascending = np.sort(similarity, axis=1)
        for row, (ordered, values) in enumerate(zip(ascending, similarity, strict=True), start):
            ranks[row] = n - np.searchsorted(ordered, values, side="left")
    np.fill_diagonal(ranks, np.iinfo(np.int32).max)
    return ranks


def measure_retrieval(
    ranks: npt.NDArray[np.int32], own: npt.ArrayLike, *, plates: npt.ArrayLike | None = None,
    seed: Seed, n_draws: int = 1000,
) -> Retrieval:  # fmt: skip
    """Ask whether wells of one label are nearer to each other than to other wells.

    Each of its wells ranks the label's other wells among all others by cosine similarity
    (Kalinin et al., Nat. Commun. 2025, doi:10.1038/s41467-025-60306-2).

    Parameters
    ----------
    ranks
        Shape (well, well): of the label's wells and of those it is compared with, from
        `rank_neighbours`.
    own
        Indices of the label's wells.
    plates
        Shape (well,): the plate of each; default: one for all.
    seed, n_draws
        Of the null: as many wells drawn at random, on the same plates as the label's, because
        wells of one plate share more than their label. Orders drawn for each well by itself would
        make a null too narrow, because similarities are shared by two wells. Wells of a plate are
        taken for exchangeable: those at one position on several plates share more than their
        label, which this null does not see.

    Returns
    -------
    Retrieval
        NaN where the label has fewer than two wells or nothing is compared. A NaN p-value where
        fewer than `LEAST_SETS` sets of wells lie on the same plates (`count_sets`).
    """
    mine = np.asarray(own, dtype=np.intp)
    if mine.size < 2 or mine.size == len(ranks):
        return Retrieval(float("nan"), float("nan"), float("nan"))
    on = np.zeros(len(ranks), dtype=np.intp) if plates is None else np.asarray(plates)
    shares = np.arange(1, mine.size)

    def average(chosen: npt.NDArray[np.intp]) -> float:
        places = np.sort(ranks[np.ix_(chosen, chosen)], axis=1)[:, :-1]
        return float((shares / places).mean())

    observed = average(mine)
    drawn = _draw_alike(on, mine, n_draws, np.random.default_rng(seed))
    null = np.array([average(chosen) for chosen in drawn])
    better = int((null >= observed - 1e-12).sum())
    enough = count_sets(on, mine) >= LEAST_SETS
    p_value = (1 + better) / (1 + n_draws) if enough else float("nan")
    return Retrieval(observed, float(null.mean()), p_value)


def count_sets(plates: npt.ArrayLike, own: npt.ArrayLike) -> int:
    """Count the sets of wells that lie on the same plates as some wells, these included."""
    on = np.asarray(plates)
    names, wanted = np.unique(on[np.asarray(own, dtype=np.intp)], return_counts=True)
    return math.prod(
        math.comb(int((on == name).sum()), m)
        for name, m in zip(names, wanted.tolist(), strict=True)
    )


def _draw_alike(
    plates: npt.NDArray[Any], own: npt.NDArray[np.intp], n_draws: int, random: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Draw sets of wells on the same plates, shape (draw, well)."""
    names, wanted = np.unique(plates[own], return_counts=True)
    parts = []
    for name, m in zip(names, wanted.tolist(), strict=True):
        here = np.flatnonzero(plates == name)
        keys = random.random((n_draws, here.size))
        first = np.argpartition(keys, m - 1, axis=1)[:, :m]
        parts.append(here[first])
    return np.concatenate(parts, axis=1)
