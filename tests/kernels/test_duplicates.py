"""Images of one view are found in one group, others are not."""

import numpy as np
from scipy import ndimage

from i2r.kernels.duplicates import group_duplicates


def draw_scene(seed: int, shape: tuple[int, int] = (160, 200)) -> np.ndarray:
    random = np.random.default_rng(seed)
    scene = np.zeros(shape)
    scene[random.integers(0, shape[0], 40), random.integers(0, shape[1], 40)] = 4e4
    return ndimage.gaussian_filter(scene, 5) + 20


def test_overlapping_windows_and_repeats_are_grouped() -> None:
    random = np.random.default_rng(0)
    scene, other = draw_scene(1), draw_scene(2)
    images = [
        other[:128, :128],
        scene[:128, :128],
        scene[12:140, 30:158] * 3 + random.normal(0, 2, (128, 128)),
        draw_scene(3)[:128, :128],
        other[:128, :128] + random.normal(0, 5, (128, 128)),
    ]
    assert group_duplicates(images).tolist() == [0, 1, 1, 3, 0]


def test_images_of_other_sizes_and_flat_ones_stand_alone() -> None:
    scene = draw_scene(1)
    images = [scene[:100, :100], scene[:100, :102], np.zeros((100, 100)), np.zeros((100, 100))]
    assert group_duplicates(images).tolist() == [0, 1, 2, 3]
    assert group_duplicates([]).tolist() == []
