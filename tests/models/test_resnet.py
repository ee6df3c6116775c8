"""ResNet-18: torchvision's keys and shapes, and what loading its weights does."""

import pytest
import torch

from i2r.models.resnet import N_FEATURES, ResNet18, load_pretrained

# Of torchvision's resnet18: its documentation gives 11,689,512 parameters for 1,000 classes.
N_PARAMETERS = 11_689_512


def state(seed: int = 0, **options: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return ResNet18(1000, **options).state_dict()


def test_it_has_torchvisions_keys_and_parameters() -> None:
    network = ResNet18(1000)
    assert sum(p.numel() for p in network.parameters()) == N_PARAMETERS
    keys = set(network.state_dict())
    expected = {"conv1.weight", "fc.weight", "fc.bias", "bn1.running_mean"}
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            for part in (1, 2):
                expected |= {
                    f"layer{layer}.{block}.conv{part}.weight",
                    f"layer{layer}.{block}.bn{part}.weight",
                }
        if layer > 1:
            expected |= {
                f"layer{layer}.0.downsample.0.weight",
                f"layer{layer}.0.downsample.1.running_var",
            }
    assert expected <= keys
    assert len(keys) == 122


@pytest.mark.parametrize("side", [32, 64, 224])
def test_features_do_not_depend_on_what_else_is_in_the_batch(side: int) -> None:
    torch.manual_seed(0)
    network = ResNet18(3).eval()
    images = torch.rand(3, 3, side, side)
    with torch.inference_mode():
        whole, alone = network.pool(images), network.pool(images[1:2])
    assert whole.shape == (3, N_FEATURES)
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-3, atol=1e-4)


def test_blocks_do_what_the_paper_says() -> None:
    """Compare a block, statistics included, with its formula written out."""
    torch.manual_seed(0)
    block = ResNet18(1).layer2[0].eval()
    images = torch.rand(2, 64, 8, 8)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (1 + 1e-5) ** 0.5  # fresh statistics: mean 0, variance 1

    conv = torch.nn.functional.conv2d
    hidden = norm(conv(images, block.conv1.weight, stride=2, padding=1)).relu()
    hidden = norm(conv(hidden, block.conv2.weight, padding=1))
    shortcut = norm(conv(images, block.downsample[0].weight, stride=2))
    torch.testing.assert_close(block(images), (hidden + shortcut).relu())


def test_published_weights_load_but_for_a_last_layer_of_another_size() -> None:
    given, network = state(1), ResNet18(7)
    last = network.fc.weight.clone()
    load_pretrained(network, given)
    assert torch.equal(network.layer3[1].conv2.weight, given["layer3.1.conv2.weight"])
    assert torch.equal(network.fc.weight, last)
    same = ResNet18(1000)
    load_pretrained(same, given)
    assert torch.equal(same.fc.weight, given["fc.weight"])


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_other_channels_respond_alike_to_an_image_that_is_the_same_in_all(n_channels: int) -> None:
    given = state(1)
    network, colour = ResNet18(1, n_channels=n_channels).eval(), ResNet18(1).eval()
    load_pretrained(network, given)
    load_pretrained(colour, given)
    grey = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.pool(grey.expand(-1, n_channels, -1, -1)),
            colour.pool(grey.expand(-1, 3, -1, -1)),
            rtol=1e-3, atol=1e-4,
        )  # fmt: skip


def test_other_networks_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lack 'conv1\.weight' and 1\d\d more"):
        load_pretrained(ResNet18(2), {"weight": torch.zeros(3)})
    wrong = {**state(), "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(ValueError, match=r"'layer1\.0\.conv1\.weight' has shape"):
        load_pretrained(ResNet18(2), wrong)
