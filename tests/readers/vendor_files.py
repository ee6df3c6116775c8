"""Small .lif and .nd2 files, written after what is known of the formats."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint16]
_ND2 = 0x0ABECEDA
# An .nd2 file's frames begin 4,096 bytes and 8 after their chunk.
_NAME_BYTES = 4096 - 16


def write_lif(path: Path, images: Mapping[str, Pixels], channels: Sequence[str]) -> None:
    """Write images (channel, z, y, x) as a Leica file: XML in UTF-16, then a block for each."""
    elements, blocks = "", b""
    for number, (name, pixels) in enumerate(images.items()):
        n_z, height, width = pixels.shape[1:]
        described = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" Min="0" Max="65535" '
            f'NameOfMeasuredQuantity="" Unit="" LUTName="{channel}" IsLUTInverted="0" '
            f'BytesInc="{at * pixels[0].nbytes}" BitInc="0"/>'
            for at, channel in enumerate(channels)
        )
        described = f"<Channels>{described}</Channels><Dimensions>" + "".join(
            f'<DimensionDescription DimID="{axis}" NumberOfElements="{size}" Origin="0" '
            f'Length="{0.325e-6 * (size - 1)}" Unit="m" BytesInc="{step}" BitInc="0"/>'
            for axis, size, step in (
                (1, width, 2), (2, height, 2 * width), (3, n_z, 2 * width * height),
            )
        )  # fmt: skip
        elements += (
            f'<Element Name="{name}"><Data><Image><ImageDescription>{described}</Dimensions>'
            f'</ImageDescription></Image></Data><Memory Size="{pixels.nbytes}" '
            f'MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        label = f"MemBlock_{number}".encode("utf-16-le")
        blocks += struct.pack("<IIBQBI", 0x70, len(label) + 14, 0x2A, pixels.nbytes, 0x2A, 10)
        blocks += label + pixels.astype("<u2").tobytes()
    text = (
        f'<LMSDataContainerHeader Version="2"><Element Name="x"><Children>{elements}</Children>'
        "</Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    head = struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(text) // 2)
    path.write_bytes(head + text + blocks)


def write_nd2(path: Path, frames: Pixels, channels: Sequence[str]) -> None:
    """Write a stack (z, y, x, channel) as a Nikon file of version 2.1: chunks, then their map."""
    n_z, height, width, n_channels = frames.shape
    attributes = {
        "uiWidth": width, "uiWidthBytes": width * n_channels * 2, "uiHeight": height,
        "uiComp": n_channels, "uiBpcInMemory": 16, "uiBpcSignificant": 16,
        "uiSequenceCount": n_z, "uiTileWidth": width, "uiTileHeight": height, "eCompression": 2,
        "dCompressionParam": 0.0,
    }  # fmt: skip
    spectrum = {"uiCount": 0, "bPoints": False}
    planes = {
        f"a{at}": {
            "uiCompCount": 1, "uiSampleIndex": 0, "sDescription": name, "uiColor": 255,
            "pFluorescentProbe": {
                "m_ExcitationSpectrum": spectrum, "m_EmissionSpectrum": spectrum,
            },
        }
        for at, name in enumerate(channels)
    }  # fmt: skip
    pictures = {"uiCount": n_channels, "uiSampleCount": 1, "uiCompCount": n_channels}
    metadata = {
        "bCalibrated": True, "dCalibration": 0.325, "dAspect": 1.0,
        "sPicturePlanes": {**pictures, "sPlaneNew": planes},
    }  # fmt: skip
    steps = {"uiCount": n_z, "dZStep": 1.0, "dZHigh": float(n_z), "dZLow": 0.0, "dZHome": 0.0}
    chunks = {
        b"ImageAttributes!": _write_variant(attributes),
        b"ImageMetadataSeq|0!": _write_variant(metadata),
        b"ImageMetadata!": _write_variant(
            {"eType": 4, "uLoopPars": {**steps, "iType": 0}, "uiLoopSize": n_z}
        ),
        b"CustomData|AcqTimesCache!": np.arange(n_z, dtype="<f8").tobytes(),
    }
    for at, frame in enumerate(frames):
        chunks[b"ImageDataSeq|%d!" % at] = struct.pack("<d", at) + frame.astype("<u2").tobytes()
    signature = struct.pack("<IIQ", _ND2, 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!"
    written, places = bytearray(signature + b"Ver2.1".ljust(64, b"\0")), b""
    for name, data in chunks.items():
        places += name + struct.pack("<QQ", len(written), len(data))
        written += _write_chunk(name, data)
    places += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(written))
    path.write_bytes(written + _write_chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", places))


def _write_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("<IIQ", _ND2, _NAME_BYTES, len(data)) + name.ljust(_NAME_BYTES, b"\0") + data


def _write_variant(value: object, name: str = "no_name") -> bytes:
    """Write values as the XML that Nikon's program has for them."""
    if isinstance(value, dict):
        inside = b"".join(_write_variant(own, key) for key, own in value.items())
        text = b'<%s runtype="CLxListVariant">%s</%s>' % (name.encode(), inside, name.encode())
        return text if name != "no_name" else b'<variant version="1.0">%s</variant>' % text
    kinds = {str: "CLxStringW", bool: "bool", float: "double", int: "lx_uint32"}
    kind = kinds[type(value)]
    return f'<{name} runtype="{kind}" value="{str(value).lower() if kind == "bool" else value}"/>'.encode()
