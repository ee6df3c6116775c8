"""The published classifier of a perturbation: its settings, and what validates."""

import numpy as np
import pytest

from i2r.kernels.folds import TEST, TRAIN, VALIDATION
from i2r.lazy.ensembles import PUBLISHED_NETWORK, PUBLISHED_TRAINING, split_training
from i2r.models.ensemble import EncoderSettings, build_encoder
from i2r.models.training import EncoderTraining

SEED = np.random.SeedSequence(3)


def nuclei(treated_wells: int, fields: int, n: int = 5) -> tuple[np.ndarray, ...]:
    """Give wells, fields and class of nuclei: eight control wells and some treated ones."""
    wells = [f"P1/A{w:02d}" for w in range(8)] + [f"P1/B{w:02d}" for w in range(treated_wells)]
    pieces = np.repeat([f"{w}/{f}" for w in wells for f in range(fields)], n)
    groups = np.array([p.rpartition("/")[0] for p in pieces])
    return groups, pieces, np.char.startswith(groups, "P1/B")


def test_the_settings_are_the_published_ones() -> None:
    training = EncoderTraining(**PUBLISHED_TRAINING, max_epochs=300)
    assert (training.optimizer, training.learning_rate, training.decay) == ("adam", 1e-5, False)
    assert (training.weight_decay, training.batch_size, training.patience) == (5e-4, 32, 5)
    assert training.augmentation == "flips"
    settings = EncoderSettings.from_plain({**PUBLISHED_NETWORK, "view": "nucleus+region"})
    encoder = build_encoder(settings)
    assert encoder.n_dims == 512
    assert settings.scale == "nucleus"
    # Twice torchvision's 11,176,512 weights of the convolutions and 512 x 512 + 512, the linear
    # layer to the embedding, batch normalisation, PReLU, and two classes.
    expected = 2 * (11_176_512 + 512 * 512 + 512) + 1024 * 512 + 512 + 2 * 512 + 1 + 512 * 2 + 2
    assert sum(p.numel() for p in encoder.parameters()) == expected


@pytest.mark.parametrize(("wells", "whole"), [(4, True), (3, True), (2, False)])
def test_whole_wells_validate_where_both_classes_can_spare_one(wells: int, whole: bool) -> None:
    groups, fields, treated = nuclei(wells, fields=4)
    is_test = np.isin(groups, ["P1/A00", "P1/A01", "P1/B00"])
    parts = split_training(groups, fields, treated, is_test, seed=SEED)
    assert (parts[is_test] == TEST).all()
    assert (parts[~is_test] != TEST).all()
    for part in (TRAIN, VALIDATION):
        assert set(treated[parts == part]) == {True, False}
    names = groups if whole else fields
    assert not set(names[parts == TRAIN]) & set(names[parts == VALIDATION])


def test_one_field_to_train_on_leaves_nothing_to_validate() -> None:
    groups, fields, treated = nuclei(2, fields=1)
    is_test = np.isin(groups, ["P1/A00", "P1/B00"])
    parts = split_training(groups, fields, treated, is_test, seed=SEED)
    assert set(parts) == {TRAIN, TEST}
