"""A small U-Net that tells nuclei from background and points every pixel to its nucleus' centre.

Three things are predicted at every pixel: whether it belongs to a nucleus, how near it is to a
nucleus' centre (relative to the nucleus' size), and the way from it to that centre. The kernel
`i2r.kernels.decoding` makes labels of them.

The network works at half the resolution: squares of 2 x 2 px become channels at its entrance, and
channels become pixels again at its exit, so that no detail is lost and the costly layers have a
quarter of the pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

N_MAPS = 4
"""Maps per pixel: foreground (logit), centre (logit), and the offset to the centre (y, x)."""

OFFSET_UNIT_PX = 8.0
"""Offsets are predicted in this unit, which makes them about as large as the other maps."""

WIDTHS = (32, 64, 128, 192)
"""Channels at a half, a quarter, an eighth and a sixteenth of the resolution."""


class DoubleConvolution(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation; the second adds to the first's output.

    References
    ----------
    He et al., CVPR 2016, doi:10.1109/CVPR.2016.90.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = _make_layer(n_in, n_out)
        self.second = _make_layer(n_out, n_out)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same sides."""
        first = functional.relu(self.first(features), inplace=True)
        second: Tensor = first + functional.relu(self.second(first), inplace=True)
        return second


class NucleusUNet(nn.Module):
    """Contracting and expanding path with skip connections, at half the resolution.

    Parameters
    ----------
    widths
        Channels of each level, the finest first.

    References
    ----------
    U-Net: Ronneberger et al., MICCAI 2015, doi:10.1007/978-3-319-24574-4_28. Pixels from channels:
    Shi et al., CVPR 2016, doi:10.1109/CVPR.2016.207. Centres and offsets: Cheng et al., CVPR 2020,
    doi:10.1109/CVPR42600.2020.01249.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = widths
        before = (4, *widths[:-1])
        self.down = nn.ModuleList(
            DoubleConvolution(a, b) for a, b in zip(before, widths, strict=True)
        )
        pairs = list(zip(widths[1:], widths[:-1], strict=True))
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairs)
        self.up = nn.ModuleList(DoubleConvolution(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 4 * N_MAPS, 3, padding=1)

    @property
    def stride_px(self) -> int:
        """What the sides of a field have to be a multiple of."""
        return 2 ** len(self.down)

    def forward(self, fields: Tensor) -> Tensor:
        """Predict the maps of some fields.

        Parameters
        ----------
        fields
            Shape (field, 1, y, x), float, from `i2r.models.unet_inference.compress`; the sides are
            multiples of `stride_px`.

        Returns
        -------
        Tensor
            float32, shape (field, 4, y, x), see `N_MAPS`.
        """
        features = functional.pixel_unshuffle(fields, 2)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            wide = functional.interpolate(self.narrow[level](features), scale_factor=2.0)
            features = self.up[level](torch.cat([skips[level], wide], dim=1))
        return functional.pixel_shuffle(self.head(features), 2).float()


def _make_layer(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))
