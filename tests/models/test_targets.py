"""What has to be predicted for known labels, in closed form."""

import pytest
import torch

from i2r.models.examples import MARGIN_PX
from i2r.models.targets import REACH_PX, make_targets, measure_loss
from i2r.models.unet import OFFSET_UNIT_PX


def two_squares() -> torch.Tensor:
    """Two touching squares of 11 x 11 px; the first one's middle is pixel (10, 10)."""
    labels = torch.zeros(1, 40 + 2 * MARGIN_PX, 50 + 2 * MARGIN_PX, dtype=torch.long)
    m = MARGIN_PX
    labels[0, m + 5 : m + 16, m + 5 : m + 16] = 3
    labels[0, m + 5 : m + 16, m + 16 : m + 27] = 7
    return labels


def test_offsets_lead_to_the_centre_and_spots_are_there() -> None:
    labels = two_squares()
    targets = make_targets(labels, torch.ones_like(labels, dtype=torch.bool))
    assert targets.foreground.sum() == 2 * 121
    assert targets.centre[0, 10, 10] == targets.centre[0, 10, 21] == 1
    assert targets.centre[0, 10, 15] < 0.1
    assert targets.offset[0, :, 5, 5].tolist() == [5 / OFFSET_UNIT_PX] * 2
    assert targets.offset[0, :, 10, 16].tolist() == [0, 5 / OFFSET_UNIT_PX]
    assert not targets.offset[0, :, 30, 30].any()
    # exp(-d^2 / 2 s^2) with s^2 = 0.04 * 121
    assert targets.centre[0, 12, 10].item() == pytest.approx(0.6615, abs=1e-3)


def test_edges_weigh_more_and_contacts_most() -> None:
    labels = two_squares()
    inside = torch.ones_like(labels, dtype=torch.bool)
    inside[:, :, : MARGIN_PX + 3] = False
    weight = make_targets(labels, inside).weight[0]
    assert weight[30, 40] == weight[10, 10] == 1.0
    assert weight[10, 5] == weight[10, 4] == 2.5
    assert weight[10, 15] == weight[10, 16] == 5.5
    assert not weight[:, :3].any()


def test_background_belongs_to_the_nearest_nucleus() -> None:
    labels = two_squares()
    nearest = make_targets(labels, torch.ones_like(labels, dtype=torch.bool)).nearest[0]
    assert (nearest > 0).sum() == (22 + 2 * REACH_PX) * (11 + 2 * REACH_PX)
    assert (nearest[5:16, 5 - REACH_PX : 16] == 3).all()
    assert (nearest[5:16, 16 : 27 + REACH_PX] == 7).all()
    assert not nearest[10, 27 + REACH_PX]
    assert not nearest[16 + REACH_PX, 10]


def test_windows_do_not_share_nuclei() -> None:
    labels = torch.cat([two_squares(), two_squares().roll(4, dims=2)])
    inside = torch.ones_like(labels, dtype=torch.bool)
    together = make_targets(labels, inside)
    for i in range(2):
        alone = make_targets(labels[i : i + 1], inside[i : i + 1])
        torch.testing.assert_close(together.offset[i], alone.offset[0])


def test_right_maps_lose_less_than_wrong_ones() -> None:
    labels = two_squares()
    targets = make_targets(labels, torch.ones_like(labels, dtype=torch.bool))
    logits = (targets.foreground * 16 - 8)[:, None], torch.logit(targets.centre, 1e-4)[:, None]
    right = torch.cat([*logits, targets.offset], dim=1)
    best = float(measure_loss(right, targets))
    assert best < 0.12
    for channel, change in ((0, -8.0), (1, 3.0), (2, 0.5), (3, 0.5)):
        wrong = right.clone()
        wrong[:, channel] += change
        assert float(measure_loss(wrong, targets)) > best + 0.02


def test_what_lies_outside_the_field_does_not_matter() -> None:
    labels = two_squares()
    inside = torch.ones_like(labels, dtype=torch.bool)
    inside[:, :, MARGIN_PX + 20 :] = False
    targets = make_targets(labels, inside)
    maps = torch.randn(1, 4, 40, 50, generator=torch.Generator().manual_seed(0))
    changed = maps.clone()
    changed[..., 20:] = 9.0
    assert measure_loss(maps, targets) == measure_loss(changed, targets)


def test_the_overlap_of_each_nucleus_counts_the_same() -> None:
    """A large and a small square whose foreground is a pixel too wide on one side."""
    labels = torch.zeros(1, 60 + 2 * MARGIN_PX, 60 + 2 * MARGIN_PX, dtype=torch.long)
    m = MARGIN_PX
    labels[0, m + 5 : m + 35, m + 5 : m + 35] = 2
    labels[0, m + 45 : m + 55, m + 45 : m + 55] = 4
    targets = make_targets(labels, torch.ones_like(labels, dtype=torch.bool))
    found = targets.foreground.clone()
    found[0, 5:35, 35] = 1
    found[0, 45:55, 55] = 1
    maps = torch.cat([(found * 80 - 40)[:, None], torch.zeros(1, 3, 60, 60)], dim=1)
    extra = measure_loss(maps, targets, outlines=1.0) - measure_loss(maps, targets)
    wanted = (1 - 900 / 930 + 1 - 100 / 110) / 2
    assert float(extra) == pytest.approx(wanted, abs=1e-5)
    assert set(targets.nearest.unique().tolist()) == {0, 2, 4}
