"""Embedding: the same for any batch size, and in halves where memory runs out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2r.models.batches import load_crops
from i2r.models.embedding import embed_pool, run_in_parts
from i2r.models.encoder import EncoderSettings, build_encoder
from i2r.models.pools import NucleusPool

ENCODER = build_encoder(EncoderSettings(embedding_dim=5, widths=(4, 8), classes=("a", "b"))).eval()
CROPS = NucleusPool(
    load_crops(np.random.default_rng(0).integers(0, 65536, (11, 1, 64, 64)).astype(np.uint16))
)


def test_batches_do_not_matter_beyond_rounding() -> None:
    whole = embed_pool(ENCODER, CROPS, precision="float32")
    assert whole.dtype == np.float32
    assert whole.shape == (11, 5)
    for batch_size in (1, 4, 11):
        parts = embed_pool(ENCODER, CROPS, batch_size=batch_size, precision="float32")
        np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-5)
    again = embed_pool(ENCODER, CROPS, precision="float32")
    assert whole.tobytes() == again.tobytes()


def test_no_nuclei_give_no_embeddings() -> None:
    assert embed_pool(ENCODER, NucleusPool(CROPS.crops[:0])).shape == (0, 5)


@pytest.mark.parametrize("fits", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [0, 1, 7, 20])
def test_parts_are_halved_until_they_fit_and_cover_everything_once(fits: int, length: int) -> None:
    seen = []

    def work(part: slice) -> None:
        if part.stop - part.start > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.extend(range(part.start, part.stop))

    run_in_parts(work, length, part=16)
    assert seen == list(range(length))


def test_one_nucleus_that_does_not_fit_is_an_error() -> None:
    def work(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        run_in_parts(work, 3, part=2)


def test_embeddings_survive_a_device_that_runs_out_of_memory() -> None:
    class Tight(torch.nn.Module):
        """Two nuclei fit, no more."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images

    encoder = build_encoder(ENCODER.settings).eval()
    whole = embed_pool(encoder, CROPS, precision="float32")
    encoder.branches["nucleus"].features.insert(0, Tight())
    np.testing.assert_allclose(
        embed_pool(encoder, CROPS, precision="float32"), whole, rtol=1e-4, atol=1e-5
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_embeds_as_a_cpu_does() -> None:
    on_card = build_encoder(replace(ENCODER.settings), device="cuda").eval()
    on_card.load_state_dict(ENCODER.state_dict())
    np.testing.assert_allclose(
        embed_pool(on_card, CROPS, precision="float32"),
        embed_pool(ENCODER, CROPS, precision="float32"),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip
