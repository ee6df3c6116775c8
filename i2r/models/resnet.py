"""ResNet-18 whose state dict has torchvision's keys, so that its published weights load."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

# Output channels of the four groups of blocks; the last one is the number of features.
WIDTHS = (64, 128, 256, 512)
N_FEATURES = WIDTHS[-1]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut.

    Parameters
    ----------
    n_in, n_out
        Channels before and after.
    stride
        Of the first convolution. Where the shape changes, the shortcut is a 1 x 1 convolution.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Apply the block, (n, n_in, y, x) to (n, n_out, y / stride, x / stride)."""
        shortcut = images if self.downsample is None else self.downsample(images)
        hidden = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        return functional.relu(self.bn2(self.conv2(hidden)) + shortcut, inplace=True)


class ResNet18(nn.Module):
    """The residual network of 18 layers for images of 224 x 224 px, or any other size.

    Parameters
    ----------
    n_outputs
        Outputs of the last, linear layer ``fc``.
    n_channels
        Channels of the images; torchvision's weights are for three.

    References
    ----------
    He, Zhang, Ren and Sun, CVPR 2016, doi:10.1109/CVPR.2016.90.
    """

    def __init__(self, n_outputs: int, *, n_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_channels, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        groups = []
        before = WIDTHS[0]
        for number, width in enumerate(WIDTHS):
            first = ResidualBlock(before, width, stride=2 if number else 1)
            groups.append(nn.Sequential(first, ResidualBlock(width, width, stride=1)))
            before = width
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.fc = nn.Linear(N_FEATURES, n_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def pool(self, images: Tensor) -> Tensor:
        """Return the 512 features before the last layer, shape (n, 512)."""
        hidden = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        hidden = functional.max_pool2d(hidden, 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            hidden = layer(hidden)
        return hidden.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs of the last layer, shape (n, n_outputs), for (n, c, y, x)."""
        outputs: Tensor = self.fc(self.pool(images))
        return outputs


def load_pretrained(network: ResNet18, state: Mapping[str, Tensor]) -> None:
    """Load torchvision's weights into everything but a last layer of another size.

    Parameters
    ----------
    network
        Changed in place. With other than three channels its first layer gets the weights' mean
        over red, green and blue, scaled so that an image that is the same in all channels gives
        the same response.
    state
        A state dict with torchvision's keys, for ImageNet or anything else.

    Raises
    ------
    ValueError
        If keys are missing or shapes differ.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state and not name.startswith("fc.")]
    if missing:
        raise ValueError(
            f"the weights lack {missing[0]!r} and {len(missing) - 1} more, expected a state dict "
            "of torchvision's ResNet-18"
        )
    given = {name: tensor for name, tensor in state.items() if name in own}
    n_channels = own["conv1.weight"].shape[1]
    first = given["conv1.weight"]
    if first.ndim == 4 and first.shape[1] == 3 and n_channels != 3:
        mean = first.mean(dim=1, keepdim=True) * (3 / n_channels)
        given["conv1.weight"] = mean.expand(-1, n_channels, -1, -1)
    for name in ("fc.weight", "fc.bias"):
        if name in own and (name not in given or given[name].shape != own[name].shape):
            given[name] = own[name]
    wrong = [name for name, tensor in given.items() if tensor.shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} has shape {tuple(given[wrong[0]].shape)}, expected "
            f"{tuple(own[wrong[0]].shape)} of a ResNet-18"
        )
    # Weights saved before torch counted batches lack that counter, which nothing here uses.
    network.load_state_dict(
        {**own, **{n: t.to(torch.float32) for n, t in given.items() if t.is_floating_point()}}
    )
