"""Windows of known fields: labels go where the pixels go."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from i2r.models.examples import MARGIN_PX, Example, draw_windows, make_example, vary_brightness


def make_blobs(seed: int = 0, shape: tuple[int, int] = (120, 150)) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.standard_normal(shape), 5)
    return ndimage.label(noise > 0.8 * noise.std())[0]


def draw(examples: list[Example], seed: int, n: int = 6, side: int = 48):
    probabilities = np.full(len(examples), 1 / len(examples))
    random = np.random.default_rng(seed)
    return draw_windows(examples, probabilities, n_windows=n, side_px=side, random=random)


def test_windows_have_images_labels_and_a_margin() -> None:
    labels = make_blobs()
    windows = draw([make_example(labels * 10.0, labels)], 0)
    assert windows.images.shape == (6, 1, 48, 48)
    assert windows.labels.shape == windows.inside.shape == (6, 80, 80)
    assert set(windows.labels.unique().tolist()) <= set(np.unique(labels).tolist())


def test_labels_go_where_their_pixels_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is the mask itself: bright exactly where labels are, up to interpolated edges."""
    monkeypatch.setattr("i2r.models.examples.vary_brightness", lambda image, random: image)
    labels = make_blobs()
    example = Example(
        torch.from_numpy((labels > 0).astype(np.float32)),
        torch.from_numpy(labels.astype(np.float32)),
    )
    for seed in range(8):
        windows = draw([example], seed)
        cut = slice(MARGIN_PX, -MARGIN_PX)
        inside = windows.inside[:, cut, cut]
        bright = windows.images[:, 0] > 0.5
        differs = (bright != (windows.labels[:, cut, cut] > 0)) & inside
        assert differs.float().mean() < 0.01


def test_the_same_seed_draws_the_same_windows() -> None:
    labels = make_blobs()
    examples = [make_example(labels * 10.0, labels), make_example(labels * 5.0, labels)]
    one, same, other = draw(examples, 3), draw(examples, 3), draw(examples, 4)
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.labels, other.labels)


def test_a_field_smaller_than_a_window_is_marked() -> None:
    windows = draw([make_example(np.zeros((20, 30)), np.ones((20, 30), int))], 0)
    assert not windows.inside.all()
    assert windows.inside.any()
    assert torch.equal(windows.labels > 0, windows.inside)
    assert torch.isfinite(windows.images).all()


def test_brightness_varies_and_stays_finite() -> None:
    image = torch.from_numpy(np.random.default_rng(0).random((1, 40, 40), np.float32))
    random = np.random.default_rng(0)
    varied = [vary_brightness(image, random) for _ in range(40)]
    assert all(torch.isfinite(v).all() and v.shape == image.shape for v in varied)
    assert np.std([float(v.mean()) for v in varied]) > 0.05


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one \(y, x\)"):
        make_example(np.zeros((4, 5)), np.zeros((5, 4), int))
