"""Kernel ridge regression written as weights over the training rows.

A prediction is a weighted sum of training targets, ``weights @ targets``, and the weights depend
on the inputs alone. That makes everything around the regression cheap: all left-out rows come from
one factorisation, targets may be exchanged (other embeddings, shuffled links) without solving
again, and distances to candidates follow from inner products that are computed once.

The kernel that maps perturbation embeddings to regulatory embeddings in Image2Reg (Paysan et al.,
Cell Systems 2025) is the neural tangent kernel of an infinitely wide network with one hidden layer
of rectified linear units and a constant input [1]_, whose parts are arc-cosine kernels [2]_.

References
----------
.. [1] Jacot, Gabriel and Hongler 2018, Neural tangent kernel, NeurIPS.
   https://doi.org/10.48550/arXiv.1806.07572
.. [2] Cho and Saul 2009, Kernel methods for deep learning, NeurIPS 22.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Eigenvalues below this part of the largest are rounding.
_DEPENDENT = 1e-8
# A cosine this close to one is one: rounding would turn it into an angle of 1e-8.
_COSINE_ROUNDING = 8 * np.finfo(float).eps


def ntk_kernel(x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """Compute the neural tangent kernel of a one-hidden-layer ReLU network with bias.

    Parameters
    ----------
    x, y
        Shapes (n, d) and (m, d): one row per input.

    Returns
    -------
    ndarray of float64, shape (n, m)
        ``K(x, x) = 2 (|x|^2 + 1)``; ``K((1, 0), (0, 1)) = 1.884662``. NaN where an input has NaN.

    Raises
    ------
    ValueError
        If the inputs are not matrices of equal width.
    """
    x, y = _as_rows(x, y)
    return ntk_of_products(x @ y.T, (x * x).sum(axis=1), (y * y).sum(axis=1))


def ntk_of_products(
    products: Floats, squared_x: npt.NDArray[np.float64], squared_y: npt.NDArray[np.float64]
) -> Floats:
    """Compute the neural tangent kernel from inner products, see `ntk_kernel`.

    Parameters
    ----------
    products
        Shape (..., n, m): inner products of the rows.
    squared_x, squared_y
        Shapes (..., n) and (..., m): squared norms of the rows.
    """
    norm = np.sqrt((squared_x[..., :, None] + 1) * (squared_y[..., None, :] + 1))
    cosine = np.clip((products + 1) / norm, -1, 1)
    cosine = np.where(cosine > 1 - _COSINE_ROUNDING, 1.0, cosine)
    # Share of hidden units that are active for both inputs.
    both_active = 1 - np.arccos(cosine) / np.pi
    kernel: Floats = norm * (2 * cosine * both_active + np.sqrt(1 - cosine * cosine) / np.pi)
    return kernel


def rbf_kernel(x: npt.ArrayLike, y: npt.ArrayLike, *, bandwidth: float) -> Floats:
    """Compute the Gaussian kernel ``exp(-|x - y|^2 / (2 bandwidth^2))``, shape (n, m).

    Raises
    ------
    ValueError
        If the inputs are not matrices of equal width, or the bandwidth is not positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth is {bandwidth}, expected more than 0")
    x, y = _as_rows(x, y)
    squared = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None, :] - 2 * (x @ y.T)
    kernel: Floats = np.exp(-np.maximum(squared, 0) / (2 * bandwidth**2))
    return kernel


def linear_kernel(x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """Compute inner products of rows, shape (n, m); `ridge_weights` centres for an intercept.

    Raises
    ------
    ValueError
        If the inputs are not matrices of equal width.
    """
    x, y = _as_rows(x, y)
    kernel: Floats = x @ y.T
    return kernel


def invert_ridge(gram: npt.ArrayLike, penalty: float) -> Floats:
    """Invert ``gram + penalty I``: the one factorisation that all left-out rows come from.

    Parameters
    ----------
    gram
        Shape (n, n): a kernel matrix, symmetric and positive semi-definite.
    penalty
        Added to the diagonal, 0 or more.

    Returns
    -------
    ndarray of float64, shape (n, n)
        Exactly symmetric.

    Raises
    ------
    ValueError
        If the matrix is not square, not finite, or not positive definite with this penalty.
    """
    gram = np.asarray(gram, dtype=float)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise ValueError(f"kernel matrix has shape {gram.shape}, expected a square")
    if not np.isfinite(gram).all():
        raise ValueError("kernel matrix has NaN or infinite values: an input row has them")
    regular = gram + penalty * np.eye(len(gram))
    try:
        root = np.linalg.inv(np.linalg.cholesky(regular))
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"kernel matrix of {len(gram)} rows is singular with penalty {penalty}: rows repeat or "
            "depend on each other. Take a larger penalty"
        ) from error
    inverse: Floats = root.T @ root
    return inverse


def ridge_weights(query: npt.ArrayLike, inverse: Floats, *, centre: bool = False) -> Floats:
    """Give the weights with which training targets make the predictions of queries.

    Parameters
    ----------
    query
        Shape (q, n): kernel between queries and training rows.
    inverse
        Shape (n, n): from `invert_ridge` on the training rows.
    centre
        Subtract the mean of the training targets before the regression and add it again, so
        that a query unlike everything is predicted to be the mean and not zero.

    Returns
    -------
    ndarray of float64, shape (q, n)
        Predictions are ``weights @ targets``.
    """
    weights: Floats = np.asarray(query, dtype=float) @ inverse
    if centre:
        weights = weights + (1 - weights.sum(axis=1, keepdims=True)) / inverse.shape[0]
    return weights


def leave_one_out_weights(inverse: Floats, *, centre: bool = False) -> Floats:
    """Give for every training row the weights of a regression that never saw it.

    In closed form: without row ``i`` the weights are ``-inverse[i, j] / inverse[i, i]``.

    Parameters
    ----------
    inverse
        Shape (n, n): from `invert_ridge` on all rows, at least two.
    centre
        As in `ridge_weights`; the mean is that of the other rows.

    Returns
    -------
    ndarray of float64, shape (n, n)
        Row ``i`` has the weights for predicting row ``i``, zero on the diagonal.

    Raises
    ------
    ValueError
        If there are fewer than two rows.
    """
    n = len(inverse)
    if n < 2:
        raise ValueError(f"{n} training row(s), expected 2 or more: one is left out at a time")
    weights = -inverse / np.diagonal(inverse)[:, None]
    np.fill_diagonal(weights, 0)
    if centre:
        weights += (1 - weights.sum(axis=1, keepdims=True)) / (n - 1)
        np.fill_diagonal(weights, 0)
    return weights


def leave_two_out_weights(inverse: Floats, left_out: int, *, centre: bool = False) -> Floats:
    """Give for every row the weights of a regression that saw neither it nor ``left_out``.

    In closed form from the inverse of all rows and the two-by-two block of the pair. These are the
    leave-one-out predictions within the training set that remains when ``left_out`` is held out:
    what options are chosen by, and what confidence is calibrated on, without touching that row.

    Parameters
    ----------
    inverse
        Shape (n, n): from `invert_ridge` on all rows, at least three.
    left_out
        The row held out, 0 to n - 1.
    centre
        As in `ridge_weights`; the mean is that of the remaining rows.

    Returns
    -------
    ndarray of float64, shape (n, n)
        Row ``j`` has the weights for predicting row ``j``, zero in columns ``j`` and
        ``left_out``; row ``left_out`` is NaN.

    Raises
    ------
    ValueError
        If there are fewer than three rows.
    """
    n = len(inverse)
    if n < 3:
        raise ValueError(f"{n} training rows, expected 3 or more: two are left out at a time")
    diagonal, column = np.diagonal(inverse), inverse[:, left_out]
    determinant = inverse[left_out, left_out] * diagonal - column**2
    determinant[left_out] = np.nan
    weights = (
        column[:, None] * column[None, :] - inverse[left_out, left_out] * inverse
    ) / determinant[:, None]
    np.fill_diagonal(weights, 0)
    weights[:, left_out] = 0
    if centre:
        rest = (1 - weights.sum(axis=1, keepdims=True)) / (n - 2)
        weights += rest
        np.fill_diagonal(weights, 0)
        weights[:, left_out] = 0
    weights[left_out] = np.nan
    return weights


def intervention_weights(x: npt.ArrayLike, query: npt.ArrayLike) -> Floats:
    """Give the weights of the synthetic-intervention baseline: ``query pinv(x)``.

    A query is written as a combination of training rows with least squares and the smallest
    weights; the same combination of targets is its prediction (Agarwal, Shah and Shen 2020,
    Synthetic interventions, doi:10.48550/arXiv.2006.07691, without their truncation).

    Parameters
    ----------
    x
        Shape (..., n, d): training rows.
    query
        Shape (..., q, d).

    Returns
    -------
    ndarray of float64, shape (..., q, n)
    """
    weights: Floats = np.asarray(query, dtype=float) @ np.linalg.pinv(np.asarray(x, dtype=float))
    return weights


def leave_one_out_interventions(x: npt.ArrayLike) -> Floats:
    """Give for every row the weights with which `intervention_weights` makes it of the others.

    In closed form where rows, or columns, are independent; otherwise row by row.

    Parameters
    ----------
    x
        Shape (n, d).

    Returns
    -------
    ndarray of float64, shape (n, n)
        Zero on the diagonal.
    """
    rows = np.asarray(x, dtype=float)
    n, width = rows.shape
    if n < width and _is_regular(gram := rows @ rows.T):
        return leave_one_out_weights(invert_ridge(gram, 0.0))
    if n > width + 1 and _is_regular(gram := rows.T @ rows):
        hat = rows @ invert_ridge(gram, 0.0) @ rows.T
        left = 1 - np.diagonal(hat)
        # A row that alone spans a direction can't be made of the others.
        if (left > _DEPENDENT).all():
            weights: Floats = hat / left[:, None]
            np.fill_diagonal(weights, 0)
            return weights
    weights = np.zeros((n, n))
    for row in range(n):
        rest = np.delete(np.arange(n), row)
        weights[row, rest] = intervention_weights(rows[rest], rows[[row]])[0]
    return weights


def _is_regular(gram: Floats) -> bool:
    values = np.linalg.eigvalsh(gram)
    return bool(values[0] > _DEPENDENT * values[-1])


def _as_rows(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Check that both are matrices of one width."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"inputs have shapes {x.shape} and {y.shape}, expected (n, d) and (m, d)")
    return x, y
