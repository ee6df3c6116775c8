"""Encoders: what they are made of, and what survives writing and reading them."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2r.models.encoder import BRANCHES, Encoder, EncoderSettings, build_encoder
from i2r.models.pools import draw_turns
from i2r.models.resnet import ResNet18
from i2r.models.views import prepare_images, resize_images, turn_images
from i2r.models.weights import decode_encoder, decode_state, encode_encoder, encode_state

SMALL = EncoderSettings(embedding_dim=6, widths=(4, 8), classes=("a", "b", "c"))
PUBLISHED = EncoderSettings(
    architecture="resnet18", view="nucleus+region", embedding_dim=512, classes=("EMPTY", "JUN"),
    nucleus_px=224, scale="nucleus",
)  # fmt: skip


def images_for(encoder: Encoder, n: int = 3) -> dict[str, torch.Tensor]:
    settings = encoder.settings
    crops = torch.randint(0, 30000, (n, len(settings.channels), 64, 64), dtype=torch.int16)
    regions = torch.randint(0, 255, (n, len(settings.channels), 64, 64), dtype=torch.uint8)
    branches = BRANCHES[settings.view]
    return prepare_images(
        settings,
        crops if "nucleus" in branches else None,
        regions if "region" in branches else None,
    )


def test_the_published_network_has_the_published_size() -> None:
    """Count by hand: two ResNet-18 without last layer, 2 x (512 -> 512), 1024 -> 512, head."""
    count = sum(p.numel() for p in Encoder(PUBLISHED).parameters())
    trunk = 11_689_512 - 513_000
    expected = 2 * (trunk + 512 * 513) + 1025 * 512 + 2 * 512 + 1 + 513 * 2
    assert count == expected
    assert round(count / 1e6, 1) == 23.4
    wide = replace(PUBLISHED, embedding_dim=1024, classes=tuple(map(str, range(42))))
    assert round(sum(p.numel() for p in Encoder(wide).parameters()) / 1e6, 1) == 24.0


def test_branches_share_nothing() -> None:
    encoder = build_encoder(replace(PUBLISHED, nucleus_px=64, region_px=64)).eval()
    images = images_for(encoder)
    other = {**images, "region": torch.zeros_like(images["region"])}
    with torch.inference_mode():
        first, second = encoder.embed(images), encoder.embed(other)
    assert (first != second).any()
    pointers = [{p.data_ptr() for p in b.parameters()} for b in encoder.branches.values()]
    assert not pointers[0] & pointers[1]


def test_the_embedding_is_before_batch_normalisation() -> None:
    encoder = build_encoder(SMALL).train()
    images = images_for(encoder, 8)
    features = encoder.branches["nucleus"](images["nucleus"])
    torch.testing.assert_close(encoder.embed(images), encoder.join(features))
    normed, prelu, last = encoder.classifier
    torch.testing.assert_close(encoder(images), last(prelu(normed(encoder.join(features)))))


@pytest.mark.parametrize("view", list(BRANCHES))
@pytest.mark.parametrize("channels", [("DNA",), ("DNA", "ER")])
def test_every_view_gives_an_embedding_and_logits(view, channels) -> None:
    settings = replace(
        SMALL, view=view, channels=channels, low=(0.0,) * len(channels), high=(9e4,) * len(channels)
    )
    encoder = build_encoder(settings).eval()
    images = images_for(encoder)
    assert list(images) == list(encoder.branches)
    assert encoder.embed(images).shape == (3, 6)
    assert encoder(images).shape == (3, 3)


def test_a_binary_nucleus_is_its_outline_alone() -> None:
    settings = replace(SMALL, view="binary-nucleus")
    crops = torch.zeros(1, 1, 64, 64, dtype=torch.int16)
    crops[0, 0, 10:20, 10:30] = torch.randint(1, 30000, (10, 20), dtype=torch.int16)
    crops[0, 0, 10, 10] = -5  # 65,531 as unsigned
    image = prepare_images(settings, crops)["nucleus"]
    assert torch.equal(image, (crops != 0).float())


def test_nuclei_are_prepared_as_published() -> None:
    """Stretch to 8 bit, enlarge, repeat, subtract ImageNet's mean and divide by its spread."""
    settings = replace(PUBLISHED, view="nucleus", nucleus_px=128)
    crops = torch.randint(0, 30000, (2, 1, 64, 64), dtype=torch.int16)
    crops[:, :, :8] = 0
    found = prepare_images(settings, crops)["nucleus"]
    grey = (crops * (255 / crops.amax((2, 3), keepdim=True))).floor() / 255
    large = torch.nn.functional.interpolate(grey, scale_factor=2, mode="bilinear")
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    expected = (large - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    assert (found - expected).abs().mean() < 1e-4


def test_shrinking_to_half_is_pillows() -> None:
    from PIL import Image

    image = torch.randint(0, 256, (448, 448), dtype=torch.uint8)
    wanted = Image.fromarray(image.numpy()).resize((224, 224), Image.Resampling.BILINEAR)
    found = resize_images(image[None, None].float(), 224)[0, 0]
    expected = torch.frombuffer(bytearray(wanted.tobytes()), dtype=torch.uint8).view(224, 224)
    # Pillow rounds to whole levels twice, after the rows and after the columns, and eighths of a
    # level that end in one half go up: by 1/16 each time on average.
    difference = found - expected.float()
    assert difference.abs().max() <= 1.0
    assert abs(difference.mean() + 1 / 8) < 0.01
    rounded = resize_images(image[None, None], 224)[0, 0]
    assert rounded.dtype == torch.uint8
    assert (rounded.int() - expected.int()).abs().max() <= 1
    assert (rounded == expected).float().mean() > 0.95


@pytest.mark.parametrize("side", [64, 96, 33])
def test_images_are_turned_after_resizing_as_well_as_before(side: int) -> None:
    settings = replace(
        PUBLISHED, nucleus_px=side, region_px=32, scale="plate", low=(0.0,), high=(255.0,)
    )
    crops = torch.randint(0, 255, (6, 1, 64, 64), dtype=torch.uint8)
    regions = torch.randint(0, 255, (6, 1, 64, 64), dtype=torch.uint8)
    turns = draw_turns(np.random.default_rng(1), 6, 2, transposed=True)
    before = turn_images({"nucleus": crops, "region": regions}, turns)
    expected = prepare_images(settings, before["nucleus"], before["region"])
    found = prepare_images(settings, crops, regions, turns=turns)
    torch.testing.assert_close(found["nucleus"], expected["nucleus"], rtol=1e-4, atol=1e-4)
    # Rounded to grey levels on a CPU, rows first.
    torch.testing.assert_close(found["region"], expected["region"], rtol=0, atol=1.01 / 255 / 0.22)


def test_every_image_is_turned_by_itself() -> None:
    images = {"nucleus": torch.rand(4, 1, 5, 5), "region": torch.rand(4, 1, 7, 7)}
    turns = torch.zeros(4, 2, 3, dtype=torch.bool)
    turns[1, 0, 0] = turns[2, 1, 1] = turns[3, 1, 2] = True
    turns[0, 0] = True
    found = turn_images(images, turns)
    assert torch.equal(found["nucleus"][1, 0], images["nucleus"][1, 0].flip(0))
    assert torch.equal(found["region"][2, 0], images["region"][2, 0].flip(1))
    assert torch.equal(found["region"][3, 0], images["region"][3, 0].T)
    assert torch.equal(found["nucleus"][0, 0], images["nucleus"][0, 0].flip(0, 1).T)
    for name, untouched in (("nucleus", [2, 3]), ("region", [0, 1])):
        assert torch.equal(found[name][untouched], images[name][untouched])


def test_turns_are_the_eight_symmetries_or_mirrored_alone() -> None:
    for transposed, n_kinds in ((True, 8), (False, 4)):
        turns = draw_turns(np.random.default_rng(0), 4000, 2, transposed=transposed)
        kinds, counts = turns.reshape(-1, 3).int().unique(dim=0, return_counts=True)
        assert len(kinds) == n_kinds
        assert counts.min() > 0.8 * 8000 / n_kinds
        assert (turns[:, 0] != turns[:, 1]).any()


def test_weights_are_drawn_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (build_encoder(SMALL, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("settings", [SMALL, replace(SMALL, view="nucleus+region")])
def test_an_encoder_survives_writing_and_reading(settings: EncoderSettings) -> None:
    encoder = build_encoder(settings, seed=3).eval()
    read = decode_encoder(encode_encoder(encoder))
    assert read.settings == settings
    images = images_for(encoder)
    assert torch.equal(encoder(images), read(images))


def test_a_plain_resnet_gives_its_features() -> None:
    torch.manual_seed(0)
    network = ResNet18(1000).eval()
    for wrapped in (False, True):
        state = {"state_dict": network.state_dict()} if wrapped else network.state_dict()
        encoder = decode_encoder(encode_state(state), channels=("GFP",))
        assert encoder.settings.channels == ("GFP",)
        images = images_for(encoder, 1)
        torch.testing.assert_close(encoder.embed(images), network.pool(images["nucleus"]))


def test_a_file_can_run_no_code() -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("never",))

    buffer = io.BytesIO()
    torch.save({"weights": Evil()}, buffer)
    for data in (buffer.getvalue(), b"", b"PK\x03\x04 torn", encode_state({})[:50]):
        with pytest.raises(ValueError, match="without running code"):
            decode_state(data)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = decode_state(encode_encoder(build_encoder(SMALL)))
    state["settings"]["embedding_dim"] = 7
    with pytest.raises(ValueError, match="don't fit the settings"):
        decode_encoder(encode_state(state))
    with pytest.raises(ValueError, match="newer i2r"):
        decode_encoder(encode_state({**state, "version": 99}))
    with pytest.raises(ValueError, match="unknown fields colour"):
        decode_encoder(encode_state({**state, "settings": {"colour": "red"}}))
    with pytest.raises(ValueError, match="'small'"):
        build_encoder(SMALL, pretrained=ResNet18(2).state_dict())
