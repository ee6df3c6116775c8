"""Stacked trainings against a textbook module trained alone, and planted modules found."""

import dataclasses

import numpy as np
import pytest

from i2r.models import gae
from i2r.models.gae import Variant, train_autoencoders
from i2r.models.gae_settings import COMPACT, PUBLISHED, AutoencoderSettings
from tests.models.textbook_gae import train_one

SHORT = AutoencoderSettings(
    hidden=8, latent=6, feature_hidden=5, epochs=12, patience=4, pretraining=7
)


def draw_network(n: int = 40, modules: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw edges mostly within modules, and the module of every gene."""
    random = np.random.default_rng(seed)
    module = np.arange(n) % modules
    pairs = np.array([(i, j) for i in range(n) for j in range(i)])
    same = module[pairs[:, 0]] == module[pairs[:, 1]]
    return pairs[random.random(len(pairs)) < np.where(same, 0.4, 0.02)], module


def draw_variants(module: np.ndarray) -> list[Variant]:
    labels = np.where(np.arange(len(module)) < 16, module, -1)
    held_out = [labels.copy() for _ in range(3)]
    for gene in range(3):
        held_out[gene][gene] = -1
    return [
        *(Variant(own) for own in held_out),
        Variant(labels, feature_weight=2.0, class_weight=0.5),
        Variant(np.full_like(labels, -1), edge_weight=0.7),
    ]


@pytest.mark.parametrize(
    "change",
    [{}, {"messages": "all"}, {"pretraining": 0, "epochs": 25, "patience": 3}],
    ids=["pretrained", "all-messages", "published-phases"],
)
def test_each_stacked_model_is_the_one_trained_alone(change: dict[str, object]) -> None:
    settings = dataclasses.replace(SHORT, **change)
    edges, module = draw_network()
    features = np.random.default_rng(1).standard_normal((40, 9))
    variants = draw_variants(module)
    # Only models with the same parts draw the same first weights.
    for group in (variants[:3] + variants[4:], variants[3:4]):
        trained = train_autoencoders(edges, features, group, seeds=[3, 11], settings=settings)
        for s, seed in enumerate([3, 11]):
            for v, variant in enumerate(group):
                alone, best = train_one(edges, features, variant, 4, seed, settings)
                np.testing.assert_allclose(trained.embeddings[s, v], alone, atol=2e-4)
                assert trained.best_epoch[s, v] == best


def test_same_seed_same_result_and_other_seed_another() -> None:
    edges, module = draw_network()
    features = np.eye(40)
    first, second = (
        train_autoencoders(edges, features, draw_variants(module)[:2], seeds=[1, 2], settings=SHORT)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.embeddings, second.embeddings)
    np.testing.assert_array_equal(first.losses, second.losses)
    assert not np.allclose(first.embeddings[0], first.embeddings[1])
    np.testing.assert_allclose(np.linalg.norm(first.embeddings, axis=3), 1, rtol=1e-5)


def test_models_that_memory_has_no_room_for_train_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edges, module = draw_network()
    arguments = edges, np.eye(40), draw_variants(module)[:3]
    together = train_autoencoders(*arguments, seeds=[3], settings=SHORT)
    monkeypatch.setattr(gae, "BLOCK_BYTES", 1)
    apart = train_autoencoders(*arguments, seeds=[3], settings=SHORT)
    for one, other in zip(together[:4], apart[:4], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_many_edges_are_sampled_anew_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gae, "MOST_EDGES", 40)
    edges, module = draw_network(n=60, modules=3)
    trained = train_autoencoders(
        edges, np.eye(60), [Variant(np.full(60, -1))], seeds=[0], settings=COMPACT
    )
    rows = trained.embeddings[0, 0]
    same = module[:, None] == module[None, :]
    cosines = rows @ rows.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.5


def test_planted_modules_are_found_from_edges_alone() -> None:
    edges, module = draw_network(n=80)
    trained = train_autoencoders(
        edges, np.eye(80), [Variant(np.full(80, -1))], seeds=[0], settings=COMPACT
    )
    z = trained.embeddings[0, 0]
    cosine = z @ z.T
    same = (module[:, None] == module) & ~np.eye(80, dtype=bool)
    other = module[:, None] != module
    assert cosine[same].mean() > cosine[other].mean() + 0.4
    scores = trained.test_scores[0, 0]
    present, absent = scores[: len(scores) // 2], scores[len(scores) // 2 :]
    assert (present[:, None] > absent).mean() > 0.75
    assert len(present) == len(trained.splits[0].test)


def test_losses_fall_and_stop_after_patience() -> None:
    edges, module = draw_network()
    settings = dataclasses.replace(SHORT, epochs=60, patience=5, pretraining=0, learning_rate=0.05)
    trained = train_autoencoders(
        edges, np.eye(40), [Variant(module.astype(np.int64))], seeds=[0], settings=settings
    )
    loss, best = trained.losses[0, 0], int(trained.best_epoch[0, 0])
    assert loss[best, 1] == np.nanmin(loss[:, 1])
    assert np.isnan(loss[best + 6 :]).all()
    assert loss[best, 0] < loss[0, 0]


def test_a_held_out_label_is_not_seen() -> None:
    """Models that differ only in a gene's masked label are one model."""
    edges, module = draw_network()
    labels = module.astype(np.int64)
    one, other = labels.copy(), labels.copy()
    one[5] = other[5] = -1
    changed = labels.copy()
    changed[5] = (labels[5] + 1) % 4
    trained = train_autoencoders(
        edges, np.eye(40), [Variant(one), Variant(other), Variant(labels), Variant(changed)],
        seeds=[0], settings=SHORT,
    )  # fmt: skip
    z = trained.embeddings[0]
    np.testing.assert_allclose(z[0], z[1], atol=1e-5)
    assert not np.allclose(z[2], z[3], atol=1e-3)


def test_published_settings_are_the_published_ones() -> None:
    assert (PUBLISHED.hidden, PUBLISHED.latent, PUBLISHED.learning_rate) == (1024, 1024, 1e-5)
    assert (PUBLISHED.epochs, PUBLISHED.patience, PUBLISHED.pretraining) == (10_000, 100, 0)
    assert Variant(np.zeros(1, np.int64))[1:] == (1.0, 0.0, 1.0)


def test_features_that_are_not_finite_are_refused() -> None:
    edges, _ = draw_network()
    with pytest.raises(ValueError, match="NaN"):
        train_autoencoders(edges, np.full((40, 2), np.nan), [], seeds=[0])
