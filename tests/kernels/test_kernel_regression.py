"""Kernels against their definition, and left-out rows against refitting without them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from sklearn.kernel_ridge import KernelRidge

from i2r.kernels import kernel_regression as kr


def draw(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_ntk_has_the_published_check_values() -> None:
    assert kr.ntk_kernel([[1.0, 0.0]], [[0.0, 1.0]])[0, 0] == pytest.approx(1.884662, abs=5e-7)
    x = draw(20, 7) * 30
    np.testing.assert_allclose(
        np.diagonal(kr.ntk_kernel(x, x)), 2 * ((x**2).sum(axis=1) + 1), rtol=1e-12
    )


def test_ntk_is_the_published_formula() -> None:
    x, y = draw(9, 4), draw(6, 4, 1)
    s = x @ y.T + 1
    n = np.sqrt(((x**2).sum(1) + 1)[:, None] * ((y**2).sum(1) + 1)[None])
    u = s / n
    k1 = (u * (np.pi - np.arccos(u)) + np.sqrt(1 - u**2)) / np.pi
    k0 = (np.pi - np.arccos(u)) / np.pi
    np.testing.assert_allclose(kr.ntk_kernel(x, y), n * (k1 + u * k0), rtol=1e-12)


def test_ntk_is_the_expectation_over_hidden_units() -> None:
    """2 E[relu(wx) relu(wy)] + 2 E[step(wx) step(wy)] (x.y + 1), with the constant input."""
    x, y = np.array([0.7, -0.2, 1.0]), np.array([-0.3, 1.1, 1.0])
    # In the plane of both, w has a uniform direction and a chi-distributed length.
    angle = np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    both = integrate.quad(lambda t: np.cos(t) * np.cos(t - angle), angle - np.pi / 2, np.pi / 2)[0]
    relu = np.linalg.norm(x) * np.linalg.norm(y) * both / np.pi
    step = (np.pi - angle) / (2 * np.pi)
    expected = 2 * relu + 2 * step * (x @ y)
    assert kr.ntk_kernel([x[:2]], [y[:2]])[0, 0] == pytest.approx(expected, rel=1e-9)


def test_rbf_and_linear_kernels_are_their_formulas() -> None:
    x, y = draw(5, 3), draw(4, 3, 1)
    for i, j in np.ndindex(5, 4):
        assert kr.rbf_kernel(x, y, bandwidth=1.5)[i, j] == pytest.approx(
            np.exp(-np.sum((x[i] - y[j]) ** 2) / (2 * 1.5**2))
        )
        assert kr.linear_kernel(x, y)[i, j] == pytest.approx(x[i] @ y[j])


def test_ridge_is_that_of_scikit_learn() -> None:
    x, y, query = draw(30, 5), draw(30, 8, 1), draw(7, 5, 2)
    gram, against = kr.ntk_kernel(x, x), kr.ntk_kernel(query, x)
    theirs = KernelRidge(alpha=0.7, kernel="precomputed").fit(gram, y).predict(against)
    weights = kr.ridge_weights(against, kr.invert_ridge(gram, 0.7))
    np.testing.assert_allclose(weights @ y, theirs, rtol=1e-9, atol=1e-10)
    mean = y.mean(axis=0)
    centred = KernelRidge(alpha=0.7, kernel="precomputed").fit(gram, y - mean).predict(against)
    weights = kr.ridge_weights(against, kr.invert_ridge(gram, 0.7), centre=True)
    np.testing.assert_allclose(weights @ y, centred + mean, rtol=1e-9, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.sampled_from([0.01, 1.0, 50.0]), st.booleans(), st.integers(0, 99))
def test_left_out_rows_are_those_of_refitting_without_them(
    n: int, penalty: float, centre: bool, seed: int
) -> None:
    x = draw(n, 4, seed)
    gram = kr.ntk_kernel(x, x)
    inverse = kr.invert_ridge(gram, penalty)
    one = kr.leave_one_out_weights(inverse, centre=centre)
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        own = kr.invert_ridge(gram[np.ix_(rest, rest)], penalty)
        expected = kr.ridge_weights(gram[[i]][:, rest], own, centre=centre)[0]
        np.testing.assert_allclose(one[i, rest], expected, rtol=1e-6, atol=1e-8)
        assert one[i, i] == 0
        two = kr.leave_two_out_weights(inverse, i, centre=centre)
        assert np.isnan(two[i]).all()
        for j in rest:
            both = np.delete(np.arange(n), [i, j])
            own = kr.invert_ridge(gram[np.ix_(both, both)], penalty)
            expected = kr.ridge_weights(gram[[j]][:, both], own, centre=centre)[0]
            np.testing.assert_allclose(two[j, both], expected, rtol=1e-6, atol=1e-8)
            assert (two[j, [i, j]] == 0).all()


def test_intervention_weights_solve_least_squares_with_the_smallest_weights() -> None:
    x, query = draw(5, 9), draw(3, 9, 1)
    weights = kr.intervention_weights(x, query)
    np.testing.assert_allclose(weights, np.linalg.lstsq(x.T, query.T, rcond=None)[0].T, atol=1e-10)
    # A row of the training set is itself.
    np.testing.assert_allclose(kr.intervention_weights(x, x), np.eye(5), atol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kr.ntk_kernel([1.0], [[1.0]]), "expected"),
        (lambda: kr.ntk_kernel([[1.0, 2.0]], [[1.0]]), "expected"),
        (lambda: kr.rbf_kernel([[1.0]], [[1.0]], bandwidth=0), "more than 0"),
        (lambda: kr.invert_ridge(np.ones((2, 3)), 1.0), "square"),
        (lambda: kr.invert_ridge([[np.nan]], 1.0), "NaN"),
        (lambda: kr.invert_ridge(np.ones((3, 3)), 0.0), "larger penalty"),
        (lambda: kr.leave_one_out_weights(np.ones((1, 1))), "2 or more"),
        (lambda: kr.leave_two_out_weights(np.eye(2), 0), "3 or more"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
