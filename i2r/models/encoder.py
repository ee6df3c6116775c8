"""Encoders: one or two branches, joined to an embedding, with a classifier behind it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2r.models.batches import ScaleMethod, Scaling
from i2r.models.cnn import NucleusNetwork
from i2r.models.resnet import N_FEATURES, ResNet18, load_pretrained

Architecture = Literal["resnet18", "small"]
View = Literal["nucleus", "binary-nucleus", "region", "nucleus+region"]
# What each branch looks at, by what the encoder is shown.
BRANCHES: Mapping[View, tuple[str, ...]] = {
    "nucleus": ("nucleus",),
    "binary-nucleus": ("nucleus",),
    "region": ("region",),
    "nucleus+region": ("nucleus", "region"),
}
# Mean and standard deviation of ImageNet's red, green and blue, on which torchvision's weights
# were trained (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderSettings:
    """All that is needed to build an encoder and to show it nuclei.

    Attributes
    ----------
    architecture
        ``resnet18``, or ``small`` for tiles at their native resolution.
    view
        What it is shown; ``binary-nucleus`` keeps a nucleus' outline and nothing in it.
    channels
        Names of the channels it sees.
    classes
        What it was trained to tell apart; empty for an encoder without a classifier.
    embedding_dim
        Length of the embedding; 0 takes the branches' features as they are.
    nucleus_px, region_px
        Edge of the images of either branch in pixels.
    window_px, halved
        Edge of the region in pixels of the field, and whether fields are halved before it is cut.
    scale, low, high
        Scaling of nuclei; see `i2r.models.batches.Scaling`.
    widths
        Layers of ``small``; see `i2r.models.cnn.NucleusNetwork`.
    """

    architecture: Architecture = "small"
    view: View = "nucleus"
    channels: tuple[str, ...] = ("DNA",)
    classes: tuple[str, ...] = ()
    embedding_dim: int = 128
    nucleus_px: int = 64
    region_px: int = 224
    window_px: int = 448
    halved: bool = True
    scale: ScaleMethod = "plate"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (65535.0,)
    widths: tuple[int, ...] = (32, 64, 128, 128)

    @property
    def scaling(self) -> Scaling:
        """How nuclei are scaled."""
        return Scaling(self.scale, self.low, self.high)

    def to_plain(self) -> dict[str, Any]:
        """Give plain values, lists for tuples, as they are kept beside the weights."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "EncoderSettings":
        """Undo `to_plain`.

        Raises
        ------
        ValueError
            If there are fields that this version doesn't know.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown fields {', '.join(unknown)}")
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)


class SmallBranch(nn.Module):
    """The convolutions of `NucleusNetwork` and a global average.

    Parameters
    ----------
    n_channels, widths
        See `NucleusNetwork`.
    """

    def __init__(self, n_channels: int, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.features = NucleusNetwork(n_channels, widths=widths).features

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, shape (n, widths[-1]), for (n, c, y, x)."""
        features: Tensor = self.features(images).mean(dim=(2, 3))
        return features


class Encoder(nn.Module):
    """Unshared branches, concatenated, a linear layer to the embedding, and a classifier.

    With ``resnet18`` and both views this is the published network: two ResNet-18 whose last layer
    gives 512 features, 512 + 512 to the embedding, then batch normalisation, PReLU and a linear
    classifier; the embedding is what the linear layer gives, before batch normalisation.

    Parameters
    ----------
    settings
        What to build.

    References
    ----------
    Paysan, Radhakrishnan, Zhang, Shivashankar and Uhler, "Image2Reg", Cell Systems 16, 2025.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.branches = nn.ModuleDict(
            {name: _build_branch(settings) for name in BRANCHES[settings.view]}
        )
        width = N_FEATURES if settings.architecture == "resnet18" else settings.widths[-1]
        total = width * len(self.branches)
        self.n_dims = settings.embedding_dim or total
        self.join = nn.Linear(total, self.n_dims) if settings.embedding_dim else nn.Identity()
        n_classes = len(settings.classes)
        self.classifier = nn.Sequential()
        if n_classes:
            self.classifier.extend(
                [nn.BatchNorm1d(self.n_dims), nn.PReLU(), nn.Linear(self.n_dims, n_classes)]
            )

    @property
    def n_bytes(self) -> int:
        """The memory that the weights take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state_dict().values())

    def embed(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return the embedding, float32, shape (n, n_dims).

        Parameters
        ----------
        images
            By branch, from `i2r.models.views.prepare_images`, shape (n, c, y, x).
        """
        features = [branch(images[name]) for name, branch in self.branches.items()]
        device = features[0].device.type
        # Always float32: in bfloat16 nuclei that differ little would have one embedding.
        with torch.autocast(device, enabled=False):
            embedding: Tensor = self.join(torch.cat([f.float() for f in features], dim=1))
        return embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the classes' logits, float32, shape (n, n_classes), of embeddings."""
        with torch.autocast(embedding.device.type, enabled=False):
            logits: Tensor = self.classifier(embedding)
        return logits

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return the classes' logits of images; see `embed`."""
        return self.classify(self.embed(images))


def build_encoder(
    settings: EncoderSettings,
    *,
    seed: int = 0,
    pretrained: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> Encoder:
    """Build an encoder with weights drawn from the seed.

    Parameters
    ----------
    settings
        What to build.
    seed
        Seed of the weights, drawn on the CPU: the same on every device. Torch's own generator is
        left as it was.
    pretrained
        torchvision's state dict of a ResNet-18, from which every branch starts; None starts from
        the drawn weights.
    device
        Where the encoder goes.

    Returns
    -------
    Encoder
        In training mode, channels last in memory.

    Raises
    ------
    ValueError
        If the pretrained weights don't fit, or the architecture is none that they are for.
    """
    if pretrained is not None and settings.architecture != "resnet18":
        raise ValueError(f"weights of a ResNet-18, but the architecture {settings.architecture!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(settings)
    if pretrained is not None:
        for branch in encoder.branches.values():
            assert isinstance(branch, ResNet18)
            load_pretrained(branch, pretrained)
    return encoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def count_image_channels(settings: EncoderSettings) -> int:
    """Count the channels of a branch's images: one grey channel is shown to a ResNet as three."""
    n_channels = len(settings.channels)
    return 3 if settings.architecture == "resnet18" and n_channels == 1 else n_channels


def _build_branch(settings: EncoderSettings) -> nn.Module:
    n_channels = count_image_channels(settings)
    if settings.architecture == "small":
        return SmallBranch(n_channels, widths=settings.widths)
    network = ResNet18(N_FEATURES, n_channels=n_channels)
    if not settings.embedding_dim:
        network.fc = nn.Identity()  # type: ignore[assignment]
    return network
