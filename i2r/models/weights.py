"""Encoders and states of a training as bytes: tensors and plain values, never code."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from i2r.models.encoder import Encoder, EncoderSettings, build_encoder
from i2r.models.saved import load_tensors

_KIND = "i2r encoder"
VERSION = 1

# Parts of the names of files in archives that hold a network's code beside its weights.
_PROGRAMS = {
    "a TorchScript program": ("/code/", "/constants.pkl"),
    "a program of torch.export": ("/archive_format", "serialized_exported_program.json"),
}
_ADVICE = {
    "a TorchScript program": "It is code that can read and write files, so i2r does not load it. "
    "Export the network with torch.export.save, for 'method: exported', which reads it as data",
    "a program of torch.export": "Take 'method: exported' with 'network: FILE'",
}


def encode_state(state: Mapping[str, Any]) -> bytes:
    """Give the bytes of tensors and plain values; `decode_state` reads them."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def decode_state(data: bytes) -> dict[str, Any]:
    """Read tensors and plain values, on the CPU.

    See `i2r.models.saved.load_tensors`: a file from a stranger can't run code or fill the memory.

    Raises
    ------
    ValueError
        If the bytes are anything else.
    """
    program = name_program(data)
    if program:
        raise ValueError(f"{program}, expected weights. {_ADVICE[program]}")
    try:
        state = load_tensors(data)
    except Exception as error:  # torch raises whatever its reader stumbles over
        raise ValueError("no file of weights that torch reads without running code") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"found {type(state).__name__}, expected a mapping of tensors")
    return dict(state)


def name_program(data: bytes) -> str:
    """Say which kind of program an archive holds; "" for weights alone and for anything else.

    TorchScript is interpreted when it is loaded and can read and write files (``aten::save``,
    ``aten::from_file``), so it is never loaded; for the other see `i2r.models.exported`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ""
    for program, parts in _PROGRAMS.items():
        if any(part in f"/{name}" for name in names for part in parts):
            return program
    return ""


def encode_encoder(encoder: Encoder) -> bytes:
    """Give the bytes of an encoder: its settings and its weights."""
    weights = {name: tensor.detach().cpu() for name, tensor in encoder.state_dict().items()}
    return encode_state(
        {
            "kind": _KIND,
            "version": VERSION,
            "settings": encoder.settings.to_plain(),
            "weights": weights,
        }
    )


def decode_encoder(
    data: bytes, *, channels: tuple[str, ...] = ("DNA",), device: torch.device | str = "cpu"
) -> Encoder:
    """Read an encoder that i2r wrote, or torchvision's state dict of a ResNet-18.

    Parameters
    ----------
    data
        The file.
    channels
        Names of the channels that a ResNet-18 from elsewhere is shown; an encoder of i2r names
        its own.
    device
        Where the encoder goes.

    Returns
    -------
    Encoder
        In evaluation mode. A plain ResNet-18 gives its 512 features for nuclei that are stretched
        to 8 bit one by one and resized to 224 px, as in the published preparation.

    Raises
    ------
    ValueError
        If the file is neither, or damaged.
    """
    state = decode_state(data)
    if state.get("kind") != _KIND:
        weights = {n: t for n, t in _unwrap(state).items() if isinstance(t, Tensor)}
        settings = EncoderSettings(
            architecture="resnet18", channels=channels, embedding_dim=0, nucleus_px=224,
            scale="nucleus", low=(0.0,) * len(channels), high=(65535.0,) * len(channels),
        )  # fmt: skip
        return build_encoder(settings, pretrained=weights, device=device).eval()
    if state.get("version", 0) > VERSION:
        raise ValueError(
            f"made by a newer i2r (version {state['version']}), this one reads {VERSION}"
        )
    encoder = build_encoder(EncoderSettings.from_plain(state["settings"]), device=device)
    try:
        encoder.load_state_dict(state["weights"])
    except RuntimeError as error:
        raise ValueError("the weights don't fit the settings beside them") from error
    return encoder.eval()


def _unwrap(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take the weights out of the mapping that training scripts often put around them."""
    inner = state.get("state_dict", state)
    return inner if isinstance(inner, Mapping) else state
