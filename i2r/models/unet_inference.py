"""The trained network at work: brightness, weights, and the maps of a field or tile."""

import io
import math
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2r.models.cnn import Precision, choose_precision, mix_precision
from i2r.models.saved import load_tensors
from i2r.models.unet import OFFSET_UNIT_PX, NucleusUNet

REFERENCE_PIXEL_UM = 0.52
"""Fields are rescaled to this pixel size. It magnifies BBBC039 (0.656 um) by 1.26: mean F1 on 25
of its validation images was 0.933 then, 0.929 unmagnified and 0.932 at 1.5."""

UNKNOWN_ZOOM = 1.5
"""Magnification of fields whose pixel size nobody knows: of 0.5, 0.75, 1, 1.25, 1.5 and 2 the best
for fields of the Data Science Bowl 2018 that were not trained on, whose nuclei have 40 to
2,600 px."""

MAX_ZOOM = 4.0
"""Coarser pixels hold no more detail; nuclei have fewer than 50 of them."""

PACKAGED_WEIGHTS = "nuclei.pt"
"""The weights that ship with i2r, in ``i2r/models/trained``."""

_BORDER_PX = 16


class Brightness(NamedTuple):
    """What maps to 0 (background) and, above it, to 1 (bright nuclei); in grey levels."""

    low: float
    span: float


def measure_brightness(image: npt.NDArray[Any]) -> Brightness:
    """Measure the range of a field's intensities.

    Parameters
    ----------
    image
        Shape (y, x), at least one pixel, finite.

    Returns
    -------
    Brightness
        From the 1st to the 99.8th percentile of at most half a million pixels, but at least 12
        robust standard deviations of the noise, so that noise stays dark in a field without
        nuclei; ``span`` is 1 for a constant field.
    """
    step = max(math.isqrt(image.size) // 512, 1)
    rows = image[::step].astype(np.float32)
    low, high = (float(value) for value in np.percentile(rows[:, ::step], (1.0, 99.8)))
    # Differences of neighbours: their median absolute value is 0.954 standard deviations.
    steps = np.abs(np.diff(rows, axis=1))
    noise = float(np.median(steps)) / 0.954 if steps.size else 0.0
    return Brightness(low, max(high - low, 12 * noise) or 1.0)


def normalise(image: npt.NDArray[Any], brightness: Brightness) -> npt.NDArray[np.float32]:
    """Scale intensities linearly: 0 is the background, 1 a bright nucleus."""
    scaled: npt.NDArray[np.float32] = image.astype(np.float32)
    scaled -= np.float32(brightness.low)
    scaled /= np.float32(brightness.span)
    return scaled


def compress(fields: Tensor) -> Tensor:
    """Compress normalised intensities, so that dim nuclei beside bright ones stay visible."""
    scaled = 10 * fields
    # What asinh is, by functions that torch works at several pixels at once: a fifth of its time.
    root = scaled.square().add_(1).sqrt_()
    return scaled.abs().add_(root).log_().copysign_(scaled).div_(3)


def choose_zoom(pixel_size_um: float | None) -> float:
    """Choose by how much a field is magnified before the network.

    Parameters
    ----------
    pixel_size_um
        Edge of a pixel; None where it is not known.

    Returns
    -------
    float
        At most `MAX_ZOOM`; `UNKNOWN_ZOOM` without a pixel size.
    """
    if pixel_size_um is None:
        return UNKNOWN_ZOOM
    return min(pixel_size_um / REFERENCE_PIXEL_UM, MAX_ZOOM)


def pack_weights(network: NucleusUNet) -> bytes:
    """Give a network's weights as bytes for `load_network`; float16, which halves the file."""
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    file = io.BytesIO()
    torch.save(half, file)
    return file.getvalue()


def unpack_weights(weights: bytes) -> NucleusUNet:
    """Make a network from weights, as it was trained, to go on with its training.

    Parameters
    ----------
    weights
        What `pack_weights` gave; nothing in them is executed.

    Raises
    ------
    ValueError
        If these are not weights of this network.
    """
    try:
        state = load_tensors(weights)
        levels = sum(name.startswith("down.") and name.endswith("first.0.weight") for name in state)
        widths = tuple(int(state[f"down.{i}.first.0.weight"].shape[0]) for i in range(levels))
        network = NucleusUNet(widths)
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except Exception as error:  # pickle, zip, key and size errors alike
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(f"no weights of the segmentation network ({first})") from error
    return network


def load_network(weights: bytes, *, device: torch.device | str = "cpu") -> NucleusUNet:
    """Make a network ready for prediction.

    Parameters
    ----------
    weights
        What `pack_weights` gave; nothing in them is executed.
    device
        Where it runs.

    Returns
    -------
    NucleusUNet
        In evaluation mode, with batch normalisation folded into the convolutions.

    Raises
    ------
    ValueError
        If these are not weights of this network.
    """
    network = unpack_weights(weights)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            convolution, norm = module
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module[0] = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
            module[1] = nn.Identity()
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_packaged_weights() -> bytes:
    """Read the weights that ship with i2r."""
    folder = resources.files("i2r.models") / "trained"
    return (folder / PACKAGED_WEIGHTS).read_bytes()


def predict_maps(
    network: NucleusUNet,
    fields: npt.NDArray[np.float32],
    *,
    zoom: float = 1.0,
    precision: Precision = "auto",
) -> npt.NDArray[np.float32]:
    """Predict the maps of some fields or tiles of one shape.

    Parameters
    ----------
    network
        From `load_network`.
    fields
        Shape (field, y, x), from `normalise`.
    zoom
        See `choose_zoom`; the maps have the fields' own resolution again.
    precision
        See `i2r.models.cnn.choose_precision`.

    Returns
    -------
    ndarray of float32, shape (field, 4, y, x)
        Logits of foreground and centre, and offsets to the centre (y, x) in pixels of the field.
    """
    device = next(network.parameters()).device
    height, width = fields.shape[1:]
    inputs = torch.from_numpy(fields)[:, None].to(device)
    if zoom != 1.0:
        size = (max(round(height * zoom), 1), max(round(width * zoom), 1))
        inputs = functional.interpolate(inputs, size=size, mode="bilinear", antialias=zoom < 1)
    inputs = compress(inputs)
    rows, columns = inputs.shape[2:]
    # Mirrored, in steps that a narrow field allows: its mirror image is no wider than itself.
    padded = _mirror(inputs, network.stride_px).contiguous(memory_format=torch.channels_last)
    dtype = choose_precision(device, precision)
    with torch.inference_mode(), mix_precision(device, dtype):
        maps = network(padded)[:, :, _BORDER_PX:, _BORDER_PX:][:, :, :rows, :columns]
        if zoom != 1.0:
            maps = functional.interpolate(maps, size=(height, width), mode="bilinear")
        maps[:, 2:] *= OFFSET_UNIT_PX / zoom
    predicted: npt.NDArray[np.float32] = maps.cpu().numpy()
    return predicted


def _mirror(fields: Tensor, multiple: int) -> Tensor:
    """Add a border of mirrored pixels, and more below and right up to a multiple."""
    for axis in (2, 3):
        length = fields.shape[axis]
        total = length + 2 * _BORDER_PX
        total += -total % multiple
        position = torch.arange(-_BORDER_PX, total - _BORDER_PX, device=fields.device)
        period = max(2 * length - 2, 1)
        position = position.remainder(period)
        fields = fields.index_select(axis, torch.minimum(position, period - position))
    return fields
