"""Windows of known fields: labels go where the pixels go."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from i2r.models.examples import (
    MARGIN_PX,
    Example,
    cut_example,
    draw_windows,
    make_example,
    vary_brightness,
)


def make_blobs(seed: int = 0, shape: tuple[int, int] = (120, 150)) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.standard_normal(shape), 5)
    return ndimage.label(noise > 0.8 * noise.std())[0]


def draw(examples: list[Example], seed: int, n: int = 6, side: int = 48, **options):
    probabilities = np.full(len(examples), 1 / len(examples))
    random = np.random.default_rng(seed)
    return draw_windows(
        examples, probabilities, n_windows=n, side_px=side, random=random, **options
    )


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


def test_of_a_part_only_whole_nuclei_are_known() -> None:
    labels = np.zeros((60, 80), np.int32)
    for number, (y, x) in enumerate(((20, 20), (20, 45), (35, 0)), 1):
        labels[y : y + 10, x : x + 10] = number
    image = labels + np.random.default_rng(0).normal(100, 1, labels.shape)
    # The second nucleus is cut by the part's edge, the third one by the field's own.
    example = cut_example(image, labels[15:50, 0:50], (15, 0, 50, 50), context_px=8)
    assert example.image.shape == example.labels.shape == (51, 58)
    known = example.labels.numpy()
    assert (known[:8] == -1).all()
    assert (known[:, 50:] == -1).all()
    part = known[8:43, :50]
    assert set(np.unique(part)) == {-1, 0, 1, 3}
    assert (part == -1).sum() == 50
    whole = make_example(image, labels)
    torch.testing.assert_close(example.image, whole.image[7:58, :58])
    windows = draw([example], 1, n=9)
    assert set(windows.labels.unique().tolist()) <= {0, 1, 3}
    assert not windows.inside.all()
    with pytest.raises(ValueError, match=r"expected \(35, 50\)"):
        cut_example(image, labels, (15, 0, 50, 50), context_px=8)


def test_crowded_windows_hold_more_nuclei_and_keep_the_first() -> None:
    labels = make_blobs()
    example = make_example(labels * 10.0, labels)
    numbers = []
    for crowded in (0.0, 1.0):
        windows = draw([example], 2, n=12, side=96, crowded=crowded)
        numbers.append(sum(len(part.unique()) for part in windows.labels))
    assert numbers[1] > 1.2 * numbers[0]
