"""Brightness, weights on their way to a file and back, and the maps of fields of any size."""

import numpy as np
import pytest
import torch

from i2r.models.unet import OFFSET_UNIT_PX, NucleusUNet
from i2r.models.unet_inference import (
    MAX_ZOOM,
    REFERENCE_PIXEL_UM,
    UNKNOWN_ZOOM,
    choose_zoom,
    load_network,
    measure_brightness,
    normalise,
    pack_weights,
    predict_maps,
    read_packaged_weights,
)


def draw_plane(seed: int = 0, shape: tuple[int, int] = (80, 96)) -> np.ndarray:
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    plane = random.normal(300, 6, shape)
    for centre in ((20, 20), (50, 60), (24, 70)):
        plane += 1500 * (np.hypot(y - centre[0], x - centre[1]) < 11)
    return plane


def test_gain_and_offset_of_the_camera_do_not_matter() -> None:
    plane = draw_plane()
    other = plane * 3.5 + 1000
    np.testing.assert_allclose(
        normalise(plane, measure_brightness(plane)),
        normalise(other, measure_brightness(other)),
        atol=1e-4,
    )


def test_noise_without_nuclei_stays_dark() -> None:
    noise = np.random.default_rng(0).normal(500, 20, (200, 200))
    assert normalise(noise, measure_brightness(noise)).std() == pytest.approx(1 / 12, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 40)])
def test_a_constant_field_is_zero(shape: tuple[int, int]) -> None:
    flat = np.full(shape, 65535, np.uint16)
    assert not normalise(flat, measure_brightness(flat)).any()


def test_fields_are_rescaled_to_one_pixel_size_up_to_a_limit() -> None:
    assert choose_zoom(REFERENCE_PIXEL_UM) == 1.0
    assert choose_zoom(REFERENCE_PIXEL_UM / 4) == pytest.approx(0.25)
    assert choose_zoom(1000.0) == MAX_ZOOM
    assert choose_zoom(None) == UNKNOWN_ZOOM


def test_weights_come_back_with_normalisation_folded_in() -> None:
    torch.manual_seed(1)
    network = NucleusUNet((4, 8)).train()
    for _ in range(3):
        network(torch.randn(2, 1, 32, 32))
    loaded = load_network(pack_weights(network.eval()))
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in loaded.modules())
    field = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        # float16 in the file: relative differences of a thousandth.
        torch.testing.assert_close(loaded(field), network(field), rtol=0.02, atol=0.01)


@pytest.mark.parametrize("content", [b"", b"text", pack_weights(NucleusUNet((4, 8)))[:-600]])
def test_other_bytes_are_no_weights(content: bytes) -> None:
    with pytest.raises(ValueError, match="no weights of the segmentation network"):
        load_network(content)


def test_a_network_of_another_kind_is_refused() -> None:
    import io

    file = io.BytesIO()
    torch.save({"layer.weight": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="no weights"):
        load_network(file.getvalue())


def test_the_packaged_weights_are_small_and_whole() -> None:
    assert len(read_packaged_weights()) < 8 * 2**20
    assert not load_network(read_packaged_weights()).training


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (47, 33)])
@pytest.mark.parametrize("zoom", [1.0, 0.5, 1.7])
def test_fields_of_any_size_have_maps_of_their_size(shape: tuple[int, int], zoom: float) -> None:
    torch.manual_seed(0)
    network = load_network(pack_weights(NucleusUNet((4, 8))))
    maps = predict_maps(network, np.zeros((2, *shape), np.float32), zoom=zoom, precision="float32")
    assert maps.shape == (2, 4, *shape)
    assert np.isfinite(maps).all()


def test_offsets_are_in_pixels_of_the_field() -> None:
    """A head that always says one unit down: magnified twice, that is half as far in the field."""
    network = NucleusUNet((4, 8))
    torch.nn.init.zeros_(network.head.weight)
    with torch.no_grad():
        network.head.bias.copy_(torch.arange(4).eq(2).float().repeat_interleave(4))
    loaded = load_network(pack_weights(network))
    fields = np.zeros((1, 20, 20), np.float32)
    for zoom in (1.0, 2.0, 0.5):
        maps = predict_maps(loaded, fields, zoom=zoom, precision="float32")
        np.testing.assert_allclose(maps[0, 2], OFFSET_UNIT_PX / zoom, rtol=1e-3)
        assert not maps[0, 3].any()


def test_nuclei_are_foreground_and_point_to_their_centres() -> None:
    plane = draw_plane()
    maps = predict_maps(
        load_network(read_packaged_weights()), normalise(plane, measure_brightness(plane))[None]
    )
    truth = plane > 1000
    assert ((maps[0, 0] > 0) == truth).mean() > 0.97
    y, x = 50, 66  # six pixels right of the centre at (50, 60)
    assert maps[0, 3, y, x] == pytest.approx(-6, abs=2.5)
    assert maps[0, 2, y, x] == pytest.approx(0, abs=2.5)
