"""Training many classes: it learns, stops, resumes anywhere, and fits in less memory."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2r.models.batches import load_crops
from i2r.models.encoder import EncoderSettings
from i2r.models.evaluation import balance_recalls, evaluate_encoder, weigh_classes
from i2r.models.pools import NucleusPool
from i2r.models.train_encoder import EncoderTraining, Parts, TrainedEncoder, train_encoder

SETTINGS = EncoderSettings(
    classes=("control", "large", "bright"), embedding_dim=8, nucleus_px=16, widths=(8, 16),
    high=(255.0,),
)  # fmt: skip
QUICK = EncoderTraining(batch_size=16, max_epochs=3, learning_rate=1e-2, precision="float32")
SEED = np.random.SeedSequence(5, spawn_key=(1, 2))


def draw_pool(n_per_class: int = 40, *, seed: int = 0) -> tuple[NucleusPool, np.ndarray]:
    """Draw discs: of the controls' size and brightness, larger, or brighter."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), n_per_class)
    y, x = np.mgrid[:16, :16] - 7.5
    radii = np.where(labels == 1, 6.0, 4.0)[:, None, None]
    levels = np.where(labels == 2, 160, 80)[:, None, None]
    discs = (np.hypot(y, x) < radii) * levels
    crops = np.clip(discs + random.normal(0, 12, discs.shape) * (discs > 0), 0, 255)
    return NucleusPool(load_crops(crops.astype(np.uint8)[:, None])), labels.astype(np.int64)


def split(labels: np.ndarray) -> Parts:
    number = np.arange(labels.size)
    return Parts(number[number % 4 > 0], number[number % 4 == 0])


def train(pool: NucleusPool, labels: np.ndarray, **options) -> TrainedEncoder:
    options = {"settings": SETTINGS, "training": QUICK, "seed": SEED} | options
    return train_encoder(pool, labels, options.pop("parts", split(labels)), **options)


def same_weights(first: TrainedEncoder, second: TrainedEncoder) -> bool:
    one, two = first.encoder.state_dict(), second.encoder.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


def test_planted_classes_are_learned() -> None:
    pool, labels = draw_pool(60)
    trained = train(pool, labels, training=replace(QUICK, max_epochs=12))
    assert trained.history[trained.best_epoch - 1].validation_balanced_accuracy > 0.9
    other, truth = draw_pool(20, seed=1)
    found = evaluate_encoder(trained.encoder, other, np.arange(60), truth)
    assert (found.probabilities.argmax(axis=1) == truth).mean() > 0.9
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_bfloat16_learns_what_float32_learns_with_channels_last_in_memory() -> None:
    """The way of a card, on a processor."""
    pool, labels = draw_pool(60)
    trained = train(pool, labels, training=replace(QUICK, max_epochs=12, precision="bfloat16"))
    assert trained.history[trained.best_epoch - 1].validation_balanced_accuracy > 0.9
    images = pool.draw(SETTINGS, torch.arange(4))["nucleus"]
    first = next(m for m in trained.encoder.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.weight.dtype == torch.float32
    convolved = trained.encoder.branches["nucleus"].features(images)
    assert convolved.is_contiguous(memory_format=torch.channels_last)
    assert trained.encoder.embed({"nucleus": images}).dtype == torch.float32


def test_classes_that_are_alike_stay_at_chance() -> None:
    pool, labels = draw_pool(60)
    shuffled = np.random.default_rng(0).permutation(labels)
    trained = train(pool, shuffled, training=replace(QUICK, max_epochs=8))
    other, truth = draw_pool(60, seed=1)
    truth = np.random.default_rng(1).permutation(truth)
    found = evaluate_encoder(trained.encoder, other, np.arange(180), truth)
    assert abs((found.probabilities.argmax(axis=1) == truth).mean() - 1 / 3) < 0.12


def test_two_trainings_give_the_same_bits_and_another_seed_others() -> None:
    pool, labels = draw_pool()
    first, again = train(pool, labels), train(pool, labels)
    assert same_weights(first, again)
    assert first.history == again.history
    assert not same_weights(first, train(pool, labels, seed=np.random.SeedSequence(6)))


@pytest.mark.parametrize("augmentation", ["none", "flips", "full"])
def test_a_training_resumes_from_every_checkpoint_to_the_same_bits(augmentation: str) -> None:
    pool, labels = draw_pool()
    training = replace(QUICK, augmentation=augmentation)
    checkpoints: list[bytes] = []
    whole = train(pool, labels, training=training, save=checkpoints.append, save_every_s=0.0)
    n_steps = split(labels).train.size // 16
    assert len(checkpoints) == 3 * (n_steps + 1), "after every step and every epoch"
    for checkpoint in checkpoints[::4] + checkpoints[-1:]:
        resumed = train(pool, labels, training=training, checkpoint=checkpoint)
        assert same_weights(whole, resumed)
        assert whole.history == resumed.history


def test_it_stops_when_patience_is_over_and_keeps_the_best() -> None:
    pool, labels = draw_pool()
    labels = np.random.default_rng(0).permutation(labels)
    trained = train(pool, labels, training=replace(QUICK, max_epochs=60, patience=3))
    scores = [epoch.validation_balanced_accuracy for epoch in trained.history]
    assert len(scores) < 60
    assert trained.best_epoch == int(np.argmax(scores)) + 1
    assert len(scores) - trained.best_epoch == 4, "stops when more than three did not improve"
    found = evaluate_encoder(trained.encoder, pool, split(labels).validation, labels)
    counts = torch.zeros(3, 3)
    for truth, taken in zip(
        labels[split(labels).validation], found.probabilities.argmax(1), strict=True
    ):
        counts[truth, taken] += 1
    assert balance_recalls(counts) == pytest.approx(max(scores))


def test_held_out_nuclei_have_no_influence() -> None:
    """Change every nucleus that neither trains nor validates: nothing else changes."""
    pool, labels = draw_pool()
    number = np.arange(labels.size)
    parts = Parts(number[number % 4 > 1], number[number % 4 == 1])
    changed = pool.crops.clone()
    changed[number % 4 == 0] = 255
    first = train(pool, labels, parts=parts)
    second = train(NucleusPool(changed), np.where(number % 4 == 0, 0, labels), parts=parts)
    assert same_weights(first, second)


def test_validation_nuclei_choose_the_epoch_and_nothing_else() -> None:
    pool, labels = draw_pool()
    parts = split(labels)
    changed = pool.crops.clone()
    changed[parts.validation] = 255
    losses = [
        [epoch.train_loss for epoch in train(given, labels).history]
        for given in (pool, NucleusPool(changed))
    ]
    assert losses[0] == losses[1]


class Tight(torch.nn.Module):
    """A device with room for so many nuclei in training, and for fewer once others come to it."""

    room = 9
    n_seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.n_seen += self.training
        # In the middle of a batch, when some of its gradient is there already.
        self.room = 5 if self.n_seen > 4 else self.room
        if self.training and len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images


def test_gradients_are_those_of_the_whole_batch_when_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without batch normalisation, whose statistics are of a part, the steps are the same."""
    import i2r.models.train_encoder as module

    pool, labels = draw_pool()
    build, found = module.build_encoder, []
    for tight in (False, True):

        def build_without_normalisation(*args, tight=tight, **options):
            encoder = build(*args, **options)
            for parent in [*encoder.modules()]:
                for name, child in [*parent.named_children()]:
                    if isinstance(child, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                        setattr(parent, name, torch.nn.Identity())
            if tight:
                encoder.branches["nucleus"].features.insert(0, Tight())
            return encoder

        monkeypatch.setattr(module, "build_encoder", build_without_normalisation)
        found.append(train(pool, labels, training=replace(QUICK, learning_rate=1e-3)))
    for one, two in zip(*(f.encoder.parameters() for f in found), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_class_weights_are_inverse_sizes() -> None:
    weights = weigh_classes(np.array([0, 0, 0, 1]), 3)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.75, 0.0]))


def test_the_loss_at_the_start_is_that_of_guessing() -> None:
    pool, labels = draw_pool()
    trained = train(pool, labels, training=replace(QUICK, learning_rate=1e-9, max_epochs=1))
    assert abs(trained.history[0].validation_loss - math.log(3)) < 0.2


def test_without_validation_nuclei_the_training_nuclei_decide() -> None:
    pool, labels = draw_pool()
    parts = Parts(np.arange(labels.size), np.empty(0, dtype=np.int64))
    trained = train(pool, labels, parts=parts)
    assert math.isnan(trained.history[0].validation_balanced_accuracy)
    best = max(trained.history, key=lambda epoch: epoch.train_balanced_accuracy)
    assert trained.best_epoch == best.epoch


def test_one_class_or_one_nucleus_is_an_error() -> None:
    pool, labels = draw_pool()
    for rows in (np.flatnonzero(labels == 0), np.array([3])):
        with pytest.raises(ValueError, match="expected"):
            train(pool, labels, parts=Parts(rows, rows))


def test_a_training_that_diverges_says_so() -> None:
    pool, labels = draw_pool()
    with pytest.raises(FloatingPointError, match="diverged"):
        train(pool, labels, training=replace(QUICK, learning_rate=float("inf")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_learns_what_a_cpu_learns() -> None:
    pool, labels = draw_pool(60)
    trained = train(pool.to("cuda"), labels, training=replace(QUICK, max_epochs=12), device="cuda")
    assert trained.history[trained.best_epoch - 1].validation_balanced_accuracy > 0.9
