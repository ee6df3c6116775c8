"""Embeddings of a network against their definitions, and planted modules found in both."""

import networkx as nx
import numpy as np
import pytest

from i2r.kernels.network_embedding import embed_spectrally, embed_walks


def draw_edges(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    graph = nx.random_partition_graph([15, 15, 15], 0.5, 0.02, seed=seed)
    return np.array(graph.edges()), np.arange(45) // 15


def test_spectral_embedding_has_the_inner_products_of_the_matrix() -> None:
    edges, _ = draw_edges()
    z = embed_spectrally(edges, 45, dimensions=44)
    laplacian = nx.normalized_laplacian_matrix(nx.from_edgelist(edges.tolist()), nodelist=range(45))
    matrix = np.eye(45) - laplacian.toarray()
    values, vectors = np.linalg.eigh(matrix)
    rest = matrix @ matrix - values[-1] ** 2 * np.outer(vectors[:, -1], vectors[:, -1])
    np.testing.assert_allclose(z @ z.T, rest, atol=1e-9)


def test_large_networks_are_decomposed_alike() -> None:
    graph = nx.random_partition_graph([400] * 4, 0.05, 0.001, seed=1)
    edges = np.array(graph.edges())
    z = embed_spectrally(edges, 1600, dimensions=3)
    again = embed_spectrally(edges, 1600, dimensions=3)
    np.testing.assert_array_equal(z, again)
    dense = embed_spectrally(edges[(edges < 1500).all(axis=1)], 1500, dimensions=3)
    assert dense.shape == (1500, 3)
    module = np.arange(1600) // 400
    centres = np.stack([z[module == m].mean(axis=0) for m in range(4)])
    nearest = ((z[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == module).mean() > 0.99


def test_walks_factorise_the_matrix_of_cooccurrences() -> None:
    """Against the definition, by probabilities of walks that are counted out."""
    edges, _ = draw_edges(2)
    z = embed_walks(edges, 45, dimensions=45, window=3)
    adjacency = nx.to_numpy_array(nx.from_edgelist(edges.tolist()), nodelist=range(45))
    degree = adjacency.sum(axis=1)
    step = adjacency / degree[:, None]
    walks = (step + step @ step + step @ step @ step) / 3
    log = np.log(np.maximum(degree.sum() * walks / degree[None], 1))
    values, vectors = np.linalg.eigh(log)
    np.testing.assert_allclose(z @ z.T, (vectors * np.abs(values)) @ vectors.T, atol=1e-8)


@pytest.mark.parametrize("embed", [embed_spectrally, embed_walks])
def test_planted_modules_are_near_each_other(embed) -> None:
    edges, module = draw_edges()
    z = embed(edges, 45, dimensions=4)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = module[:, None] == module
    assert cosine[same].mean() > cosine[~same].mean() + 0.5


def test_genes_without_edges_are_at_zero_and_too_many_are_refused() -> None:
    assert not embed_spectrally([[0, 1], [1, 2]], 5, dimensions=1)[3:].any()
    with pytest.raises(ValueError, match="at most"):
        embed_walks([[0, 1]], 20_000, dimensions=2)
