"""A small convolutional network for nucleus crops at their native resolution.

A 64 x 64 px crop blown up to 224 x 224 px for a network made for photographs costs twelve times
the arithmetic and adds no information. This network halves the side with every layer instead, and
is small enough to be trained anew for every perturbation and fold on one CPU core.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]


class NucleusNetwork(nn.Module):
    """Strided convolutions, batch normalisation, global average and one linear output.

    The global average makes the output independent of the crop's size and, nearly, of where the
    nucleus lies in it.

    Parameters
    ----------
    n_channels
        Channels of the crops.
    widths
        Output channels of the layers; each halves the side. The first kernel is 5 x 5 px, the
        others are 3 x 3 px.

    References
    ----------
    Batch normalisation: Ioffe and Szegedy, ICML 2015, doi:10.48550/arXiv.1502.03167. Strides in
    place of pooling and a global average as the head: Springenberg et al., ICLR 2015 workshop,
    doi:10.48550/arXiv.1412.6806.
    """

    def __init__(self, n_channels: int, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = n_channels
        for depth, width in enumerate(widths):
            side = 3 if depth else 5
            layers.append(nn.Conv2d(before, width, side, 2, side // 2, bias=False))
            layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            before = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(before, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the logit of being treated.

        Parameters
        ----------
        crops
            Shape (nucleus, c, y, x), float, channels last in memory for speed.

        Returns
        -------
        Tensor
            float32, shape (nucleus,). The last layer is always float32: in bfloat16 many logits
            would tie.
        """
        pooled = self.features(crops).mean(dim=(2, 3))
        with torch.autocast(crops.device.type, enabled=False):
            logits: Tensor = self.head(pooled.float())
        return logits[:, 0]


def build_network(
    n_channels: int,
    *,
    widths: tuple[int, ...],
    seed: int,
    device: torch.device | str = "cpu",
) -> NucleusNetwork:
    """Build a network with weights drawn from the seed.

    Parameters
    ----------
    n_channels
        Channels of the crops.
    widths
        See `NucleusNetwork`.
    seed
        Seed of the weights. They are drawn on the CPU, so they are the same on every device, and
        torch's global generator is left as it was.
    device
        Where the network goes.

    Returns
    -------
    NucleusNetwork
        In training mode, channels last in memory.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NucleusNetwork(n_channels, widths=widths)
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def measure_statistics(network: NucleusNetwork, batches: Iterable[Tensor]) -> None:
    """Measure the statistics of batch normalisation anew, for the final weights.

    The running averages kept in training lag behind the weights, which in a training of less than
    a hundred steps shifts the threshold so far that one class is missed. Plain averages over some
    minibatches under the final weights replace them (Wu and Johnson, 2021,
    doi:10.48550/arXiv.2105.07576).

    Parameters
    ----------
    network
        Changed in place: running means and variances, and evaluation mode.
    batches
        Class-balanced minibatches of scaled crops, shape (nucleus, c, y, x), not augmented. With
        none, means are 0 and variances 1.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to ask for a plain average
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def choose_precision(device: torch.device | str, precision: Precision) -> torch.dtype:
    """Choose the number format of the convolutions.

    Parameters
    ----------
    device
        Where the network runs.
    precision
        ``auto`` takes bfloat16 where the processor has instructions for it (CPUs with AVX512-BF16
        or AMX, CUDA cards from compute capability 8.0) and float32 elsewhere.

    Returns
    -------
    torch.dtype
        ``torch.bfloat16`` or ``torch.float32``.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if torch.device(device).type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def mix_precision(device: torch.device | str, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Run what is inside in this number format where that is safe; float32 changes nothing."""
    return torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16
    )
