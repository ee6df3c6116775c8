"""Occlusion: a call that rests on one spot is traced to that spot."""

import numpy as np
import torch

from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.occlusion import map_occlusion


class Corner(torch.nn.Module):
    """Sees the brightness of the upper left quarter and nothing else."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1] // 2
        return images[:, 0, :side, :side].mean(dim=(1, 2))[:, None].repeat(1, 2)


def test_the_part_that_decides_stands_out_and_no_other() -> None:
    settings = EncoderSettings(
        view="nucleus+region", classes=("a", "b"), embedding_dim=0, widths=(2,)
    )
    encoder = build_encoder(settings)
    encoder.branches["nucleus"] = Corner()
    encoder.branches["region"] = Corner()
    encoder.join = torch.nn.Identity()
    # Probability of class 1 from the nucleus' corner alone: features 0, 1 are the nucleus'.
    encoder.classifier = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        encoder.classifier.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [4.0, 0, 0, 0]]))
    images = {"nucleus": torch.ones(2, 1, 16, 16), "region": torch.ones(2, 1, 12, 12)}
    images["nucleus"][:, :, 15, 15] = 0.0  # darkest, and far from what counts
    images["region"][:, :, 0, 0] = 0.0
    maps = map_occlusion(encoder, images, np.array([1, 0]), grid=4)
    found = maps["nucleus"]
    assert (found[0, :2, :2] > 0.01).all()
    np.testing.assert_allclose(found[0, 2:, :], 0, atol=1e-6)
    np.testing.assert_allclose(found[0, :, 2:], 0, atol=1e-6)
    assert (found[1, :2, :2] < -0.01).all(), "hiding it speaks for the other class"
    np.testing.assert_allclose(maps["region"], 0, atol=1e-6)


def test_hiding_is_of_every_part_once() -> None:
    """With one part per axis everything is hidden: the fall is that of an empty image."""
    settings = EncoderSettings(classes=("a", "b", "c"), embedding_dim=4, widths=(4, 4))
    encoder = build_encoder(settings, seed=1).eval()
    images = torch.rand(3, 1, 20, 20)
    found = map_occlusion(encoder, {"nucleus": images}, np.array([0, 1, 2]), grid=1)["nucleus"]
    empty = images.amin(dim=(2, 3), keepdim=True).expand(-1, -1, 20, 20)
    with torch.inference_mode():
        before = torch.log_softmax(encoder({"nucleus": images}), 1)
        after = torch.log_softmax(encoder({"nucleus": empty}), 1)
    np.testing.assert_allclose(
        found[:, 0, 0], (before - after).diagonal().numpy(), rtol=1e-3, atol=1e-5
    )
