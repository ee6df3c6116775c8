import torch

from i2r.models.unet import N_MAPS, NucleusUNet


def test_maps_have_the_sides_of_the_field() -> None:
    network = NucleusUNet((4, 8, 8)).eval()
    assert network.stride_px == 8
    with torch.inference_mode():
        maps = network(torch.zeros(2, 1, 24, 40))
    assert maps.shape == (2, N_MAPS, 24, 40)
    assert maps.dtype == torch.float32


def test_the_network_is_small() -> None:
    assert sum(parameter.numel() for parameter in NucleusUNet().parameters()) < 1_500_000


def test_what_is_seen_moves_with_the_field() -> None:
    """A shift by the stride shifts the maps, away from the borders."""
    torch.manual_seed(0)
    network = NucleusUNet((4, 8)).eval()
    field = torch.randn(1, 1, 96, 96)
    with torch.inference_mode():
        maps, moved = network(field), network(field.roll(network.stride_px, dims=3))
    inner = slice(32, 64)
    torch.testing.assert_close(
        moved[..., inner, inner], maps.roll(network.stride_px, dims=3)[..., inner, inner]
    )
