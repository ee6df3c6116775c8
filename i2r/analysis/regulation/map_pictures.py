"""What is shown of a map: predictions beside the truth, and whether both spaces join genes."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from i2r.analysis.regulation.gene_mapping import LeftOut, Problem
from i2r.kernels.coclustering import compare_spaces
from i2r.kernels.gene_clusters import measure_cosine_distance

# As published: numbers of clusters up to 15, and 1,000 draws.
MAX_CLUSTERS, DRAWS = 15, 1000


def place_predictions(problem: Problem, left_out: LeftOut) -> pd.DataFrame:
    """Place candidates and predictions in the first two principal components of the candidates.

    Where genes have spaces of their own, made without their label, all are shown in the space that
    saw all labels: a picture, not a result.

    Returns
    -------
    DataFrame
        kind ('candidate', 'left out' for those that were, 'predicted'), gene, x, y.
    """
    rows = problem.embeddings
    middle = rows.mean(axis=0)
    _, _, axes = np.linalg.svd(rows - middle, full_matrices=False)
    predicted = left_out.weights @ rows[problem.link.truth]
    kinds = np.full(len(rows), "candidate", dtype=object)
    kinds[problem.link.truth] = "left out"
    values = np.concatenate([rows, predicted]) - middle
    places = np.zeros((len(values), 2))
    places[:, : min(2, len(axes))] = values @ axes[:2].T
    return pd.DataFrame(
        {
            "kind": [*kinds, *["predicted"] * len(predicted)],
            "gene": [*problem.candidates, *problem.genes],
            "x": places[:, 0], "y": places[:, 1],
        }
    )  # fmt: skip


def compare_clusters(problem: Problem, *, seed: int) -> pd.DataFrame:
    """Test whether genes that look alike are near each other in the network, by clusters.

    Euclidean distance of perturbation embeddings, cosine distance of regulatory ones; complete
    linkage. Where every gene has an encoder of its own, distances are means over encoders.

    Returns
    -------
    DataFrame
        clusters_seen, clusters_regulatory, mutual_information, p_value: NaN where regulatory
        embeddings were made with labels, which may come from the same images.
    """
    seen = _measure_distances(problem.x)
    regulatory = measure_cosine_distance(problem.embeddings[problem.link.truth])
    numbers = list(range(2, min(MAX_CLUSTERS, len(seen) - 1) + 1))
    found = compare_spaces(seen, regulatory, numbers, draws=DRAWS, seed=seed)
    one, other = (np.array(numbers)[index.ravel()] for index in np.indices(found.pvalues.shape))
    p_values = found.pvalues.ravel() if problem.hidden is None else np.nan
    return pd.DataFrame(
        {
            "clusters_seen": one, "clusters_regulatory": other,
            "mutual_information": found.information.ravel(), "p_value": p_values,
        }
    )  # fmt: skip


def _measure_distances(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give Euclidean distances of the rows of (n, d), or their means over encoders of (k, n, d)."""
    if x.ndim == 2:
        return np.asarray(squareform(pdist(x)))
    total = np.zeros((x.shape[1], x.shape[1]))
    for own in x:
        total += squareform(pdist(own))
    return total / len(x)
