"""Embeddings of a network from its edges alone: what a trained model has to beat.

Both come from one decomposition and have no random part.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import eigsh

Floats = npt.NDArray[np.float64]

# Up to here the dense decomposition is as quick as the iterative one, and always converges.
_DENSE = 1500
# Random walks compare every two genes in a dense matrix: 1.6 GB for so many.
_MAX_WALK_GENES = 14_000


def embed_spectrally(edges: npt.ArrayLike, n: int, *, dimensions: int) -> Floats:
    """Embed genes by eigenvectors of the normalised adjacency, largest first.

    Parameters
    ----------
    edges
        Shape (m, 2): each pair once.
    n
        Number of genes; those without an edge get zeros.
    dimensions
        Eigenvectors to take, fewer where there are fewer genes. The constant one of a connected
        network is left out.

    Returns
    -------
    ndarray of float64, shape (n, dimensions)
        Eigenvectors times their eigenvalue, so that inner products are those of the matrix; signs
        are such that the largest entry of each is positive.

    References
    ----------
    von Luxburg 2007, Stat. Comput. 17:395. https://doi.org/10.1007/s11222-007-9033-z
    """
    adjacency = _make_adjacency(edges, n)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    root = sparse.diags(np.divide(1, np.sqrt(degree), out=np.zeros(n), where=degree > 0))
    matrix = root @ adjacency @ root
    wanted = min(dimensions + 1, n - 1)
    if n <= _DENSE:
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        start = np.random.default_rng(0).standard_normal(n)
        values, vectors = eigsh(matrix, k=wanted, which="LA", v0=start)
    order = np.argsort(-values, kind="stable")[1 : dimensions + 1]
    return _fix_signs(vectors[:, order] * values[order])


def embed_walks(edges: npt.ArrayLike, n: int, *, dimensions: int, window: int = 10) -> Floats:
    """Embed genes by node2vec's walks with p = q = 1, in closed form.

    The skip-gram model of such walks (that is DeepWalk, Perozzi et al. 2014,
    doi:10.1145/2623330.2623732) factorises a matrix that can be written down [1]_; its singular
    vectors are the embedding, without drawing walks or descending gradients.

    Parameters
    ----------
    edges, n, dimensions
        As in `embed_spectrally`.
    window
        Steps within which two genes of a walk are a context.

    Raises
    ------
    ValueError
        If there are more genes than a dense matrix should hold.

    References
    ----------
    .. [1] Qiu et al. 2018, Network embedding as matrix factorization, WSDM.
       https://doi.org/10.1145/3159652.3159706
    """
    if n > _MAX_WALK_GENES:
        raise ValueError(
            f"{n:,} genes, at most {_MAX_WALK_GENES:,} for walks in closed form: take the spectral "
            "embedding, or a smaller network"
        )
    adjacency = _make_adjacency(edges, n).toarray()
    degree = adjacency.sum(axis=1)
    inverse = np.divide(1, degree, out=np.zeros(n), where=degree > 0)
    step = inverse[:, None] * adjacency
    power, total = step, step.copy()
    for _ in range(window - 1):
        power = power @ step
        total += power
    matrix = degree.sum() / window * total * inverse[None, :]
    logarithm = np.log(np.maximum(matrix, 1))
    values, vectors = np.linalg.eigh((logarithm + logarithm.T) / 2)
    order = np.argsort(-np.abs(values), kind="stable")[:dimensions]
    return _fix_signs(vectors[:, order] * np.sqrt(np.abs(values[order])))


def _make_adjacency(edges: npt.ArrayLike, n: int) -> sparse.csr_array:
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    ones = np.ones(len(both))
    return sparse.csr_array((ones, (both[:, 0], both[:, 1])), shape=(n, n))


def _fix_signs(vectors: Floats) -> Floats:
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    fixed: Floats = vectors * np.where(signs == 0, 1, signs)
    return fixed
