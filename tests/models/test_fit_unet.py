"""Training: it learns, it goes on where it was interrupted, and it gives the same bits again."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2r.models import fit_unet as module
from i2r.models.examples import Example, make_example
from i2r.models.fit_unet import UNetSettings, fit_unet, share_equally

QUICK = UNetSettings(n_steps=6, n_windows=4, side_px=32, widths=(4, 8))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_field(seed: int) -> Example:
    random = np.random.default_rng(seed)
    y, x = np.indices((96, 96))
    labels = np.zeros((96, 96), int)
    for i, (a, b) in enumerate([(20, 20), (20, 60), (60, 30), (70, 74)], 1):
        labels[np.hypot(y - a, x - b) < 9 + i] = i
    return make_example(random.normal(100, 5, labels.shape) + 400 * (labels > 0), labels)


EXAMPLES = [make_field(0), make_field(1)]
SHARES = share_equally([1, 1])


def train(settings: UNetSettings, **options):
    return fit_unet(EXAMPLES, SHARES, settings=settings, **options)


def test_the_loss_falls() -> None:
    losses = []
    settings = replace(QUICK, n_steps=45, learning_rate=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHECKPOINT_STEPS", 15)
        train(settings, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 3
    assert losses[2] < 0.75 * losses[0]


def test_an_interrupted_training_ends_with_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_STEPS", 2)
    states: list[bytes] = []
    whole = train(QUICK, save=states.append)
    assert len(states) == 3
    resumed = train(QUICK, checkpoint=states[0])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_seed_decides() -> None:
    one, same, other = train(QUICK), train(QUICK), train(replace(QUICK, seed=1))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_checkpoint_of_another_training_is_refused() -> None:
    states: list[bytes] = []
    train(QUICK, save=states.append)
    with pytest.raises(ValueError, match="another seed"):
        train(replace(QUICK, seed=5), checkpoint=states[-1])


def test_sets_of_examples_share_equally() -> None:
    np.testing.assert_allclose(share_equally([2, 0, 4]), [0.25] * 2 + [0.125] * 4)


def test_a_training_goes_on_from_a_network_and_leaves_it_as_it_is() -> None:
    start = train(QUICK)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    settings = replace(QUICK, n_steps=3, freeze_norm=True, outlines=0.5, crowded=0.5)
    further = train(settings, start=start).state_dict()
    for name, value in start.state_dict().items():
        assert torch.equal(value, before[name])
        is_norm = "running" in name
        assert torch.equal(value, further[name]) == (is_norm or "num_batches" in name), name
