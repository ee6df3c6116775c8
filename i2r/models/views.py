"""What an encoder is shown of a nucleus: its tile and its region, prepared on the device."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from i2r.models.batches import scale_crops
from i2r.models.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderSettings,
    count_image_channels,
)


def prepare_images(
    settings: EncoderSettings,
    crops: Tensor | None,
    regions: Tensor | None = None,
    *,
    turns: Tensor | None = None,
    gains: Tensor | None = None,
) -> dict[str, Tensor]:
    """Make the images of every branch from integers.

    Parameters
    ----------
    settings
        Of the encoder.
    crops
        Shape (nucleus, c, y, x), from `i2r.models.batches.load_crops`; None where no branch shows
        nuclei.
    regions
        Shape (nucleus, c, y, x), uint8; None where no branch shows regions.
    turns
        Shape (nucleus, branch, 3), bool, on the CPU; see `turn_images`. Images are turned after
        they are resized, which is the same and moves fewer pixels.
    gains
        Shape (nucleus, c): factors on the brightness of scaled nuclei; a binary one has none.

    Returns
    -------
    dict
        By branch, float32, (nucleus, c, y, x), channels last in memory.
    """
    images = {}
    if crops is not None:
        scaled = scale_crops(crops, settings.scaling)
        if settings.view == "binary-nucleus":
            scaled = (crops != 0).to(torch.float32)
        elif gains is not None:
            scaled = scaled * gains.to(scaled.device)[:, :, None, None]
        images["nucleus"] = resize_images(scaled, settings.nucleus_px)
    if regions is not None:
        images["region"] = resize_images(regions, settings.region_px).to(torch.float32) / 255
    if turns is not None:
        images = turn_images(images, turns)
    return {name: _normalise(image, settings) for name, image in images.items()}


def resize_images(images: Tensor, size_px: int) -> Tensor:
    """Resize square images bilinearly; smaller ones are averaged over the area of a pixel.

    Parameters
    ----------
    images
        Shape (n, c, y, x), float or uint8.
    size_px
        Edge of the result in pixels.

    Returns
    -------
    Tensor
        Shape (n, c, size_px, size_px). Shrinking weighs by a triangle as wide as two new pixels,
        as Pillow does, from which the published images came. On a CPU uint8 stays uint8, rounded
        as Pillow rounds and twice as fast; on a card it becomes float, within a grey level.
    """
    before = images.shape[-1]
    if before == size_px:
        return images
    if images.device.type != "cpu" and not images.is_floating_point():
        images = images.to(torch.float32)
    return functional.interpolate(
        images, size=(size_px, size_px), mode="bilinear", align_corners=False,
        antialias=size_px < before or images.dtype == torch.uint8,
    )  # fmt: skip


def _normalise(images: Tensor, settings: EncoderSettings) -> Tensor:
    """Show a ResNet three channels, with ImageNet's mean and spread where it was made for them."""
    if settings.architecture == "resnet18" and count_image_channels(settings) == 3:
        mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
        images = (images.expand(-1, 3, -1, -1) - mean) / std
    return images.contiguous(memory_format=torch.channels_last)


def turn_images(images: Mapping[str, Tensor], turns: Tensor) -> dict[str, Tensor]:
    """Mirror and turn every image of every branch by itself.

    Parameters
    ----------
    images
        By branch, (n, c, y, x), square, any type.
    turns
        Shape (n, branch, 3), bool: whether to mirror along y, along x, and then to exchange the
        two. The published augmentation mirrors only, the branches independently.

    Returns
    -------
    dict
        New images of the same shapes.
    """
    # By the eight symmetries of the square and not nucleus by nucleus: every pixel moves once.
    codes = (turns.cpu().to(torch.int64) * torch.tensor([1, 2, 4])).sum(dim=2)
    turned = {}
    for number, (name, image) in enumerate(images.items()):
        result = torch.empty_like(image, memory_format=torch.contiguous_format)
        for code in range(8):
            chosen = torch.nonzero(codes[:, number] == code)[:, 0].to(image.device)
            if not len(chosen):
                continue
            part = image[chosen]
            axes = [axis for axis, bit in ((2, 1), (3, 2)) if code & bit]
            part = part.flip(axes) if axes else part
            result[chosen] = part.transpose(2, 3) if code & 4 else part
        turned[name] = result
    return turned
