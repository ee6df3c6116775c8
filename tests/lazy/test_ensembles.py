"""The published classifier of a perturbation: its settings."""

from i2r.lazy.ensembles import PUBLISHED_NETWORK, PUBLISHED_TRAINING
from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.train_encoder import EncoderTraining


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
