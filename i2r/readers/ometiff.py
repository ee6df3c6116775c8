"""OME-XML of TIFF files: which plane of which image each directory of a file holds."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

from i2r.readers.positions import NOWHERE, Position, read_position
from i2r.readers.units import to_microns

# A file names its planes in a few hundred bytes each.
MAX_PLANES = 2**20


class OmePlane(NamedTuple):
    """Where a plane belongs: the file's directory, and its numbers from 0."""

    directory: int
    channel: int
    z: int
    time: int


class OmeImage(NamedTuple):
    """An image of an OME-XML, as far as one file holds it.

    Attributes
    ----------
    name
        As written; may be empty.
    channels
        Names by number; empty text where one has none.
    pixel_size_um, pixel_height_um
        NaN where they aren't stated, or in no unit of length.
    planes
        Those in this file, by directory.
    position_um
        Where the stage was (x, y); nowhere where it isn't stated, or in no unit of length.
    """

    name: str
    channels: list[str]
    pixel_size_um: float
    planes: list[OmePlane]
    position_um: Position = NOWHERE
    pixel_height_um: float = math.nan


class _Block(NamedTuple):
    attributes: dict[str, str]
    uuid: str
    file_name: str


class OmeField(NamedTuple):
    """An image by its place in a set of files, and in the plate that an OME-XML describes.

    Attributes
    ----------
    file_name
        Relative to the file with the OME-XML; empty for that file itself.
    series
        Which of the file's images it is, from 0.
    name
        The image's, as written; may be empty.
    plate, row, column, field
        ``row`` and ``column`` are numbers from 1; empty where no plate holds the image.
    """

    file_name: str
    series: int
    name: str
    plate: str = ""
    row: str = ""
    column: str = ""
    field: str = ""


class _Described(NamedTuple):
    name: str
    number: str
    pixels: dict[str, str]
    channels: list[dict[str, str]]
    blocks: list[_Block]
    stage: dict[str, str]


class _Sample(NamedTuple):
    """Where a plate has an image: plate, row, column (from 1) and field, by the image's ID."""

    plate: str
    row: str
    column: str
    field: str


class _Document(NamedTuple):
    uuid: str
    metadata_file: str
    images: list[_Described]
    samples: dict[str, _Sample]


def find_companion(text: str) -> str:
    """Name the file that holds the OME-XML in place of this one; empty for none.

    Raises
    ------
    ValueError
        If the text is no OME-XML.
    """
    return _parse(text).metadata_file


def find_images(text: str, *, uuid: str = "", file_name: str, n_directories: int) -> list[OmeImage]:
    """Find the images of which a file holds planes.

    Parameters
    ----------
    text
        The OME-XML, the file's own or its companion's.
    uuid
        The file's, where the text is a companion's.
    file_name
        The file's name without folder. A set of files has one OME-XML, which says of every plane
        in which of them it is.
    n_directories
        How many the file has.

    Returns
    -------
    list of OmeImage
        Images without a plane in this file are left out.

    Raises
    ------
    ValueError
        If the text is no OME-XML, or lists directories that the file hasn't got.
    """
    document = _parse(text)
    own = uuid or document.uuid
    # A file alone that was given another name is still itself.
    is_alone = len(_list_files(document)) <= 1 and not uuid

    def is_here(block: _Block) -> bool:
        if not block.uuid and not block.file_name:
            return True
        by_name = block.file_name.rpartition("/")[2].lower() == file_name.lower()
        return is_alone or by_name or bool(own and block.uuid == own)

    found = []
    for image in document.images:
        blocks = [block for block in image.blocks if is_here(block)]
        if image.blocks and not blocks:
            continue
        blocks = blocks or [_Block({}, "", "")]
        planes = sorted(
            {plane for block in blocks for plane in _list_planes(image, block, n_directories)}
        )
        if planes and planes[-1].directory >= n_directories:
            raise ValueError(
                f"its OME-XML lists plane {planes[-1].directory + 1}, the file has {n_directories}"
            )
        width, height = (
            to_microns(
                image.pixels.get(f"PhysicalSize{axis}", ""),
                image.pixels.get(f"PhysicalSize{axis}Unit", "um"),
            )
            for axis in "XY"
        )
        names_of_channels = [channel.get("Name", "").strip() for channel in image.channels]
        stage = [image.stage.get(f"Position{axis}") for axis in "XY"]
        units = [image.stage.get(f"Position{axis}Unit") for axis in "XY"]
        at = read_position(*stage, *units)
        found.append(OmeImage(image.name, names_of_channels, width, planes, at, height))
    return found


def list_fields(text: str) -> list[OmeField]:
    """List all images of an OME-XML by file, with their wells where it describes a plate.

    Raises
    ------
    ValueError
        If the text is no OME-XML, or names its files but for one.
    """
    document = _parse(text)
    names = _list_files(document)
    counts: Counter[str] = Counter()
    found = []
    for image in document.images:
        own = {block.file_name for block in image.blocks} or {""}
        if len(names) <= 1:  # one file, whatever it is called by now
            own = {""}
        for name in sorted(own):
            place = document.samples.get(image.number, _Sample("", "", "", ""))
            found.append(OmeField(name, counts[name], image.name, *place))
            counts[name] += 1
    return found


def list_files(text: str) -> list[str]:
    """Name the files of a set by its OME-XML, sorted; relative to the file that has it."""
    return _list_files(_parse(text))


def _list_files(document: _Document) -> list[str]:
    blocks = (block for image in document.images for block in image.blocks)
    return sorted({block.file_name for block in blocks if block.file_name})


def _list_planes(image: _Described, block: _Block, n_directories: int) -> Iterator[OmePlane]:
    """List the planes of a block: so many from the first, in the order of the dimensions."""
    order = image.pixels.get("DimensionOrder", "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"]:
        raise ValueError(f"its OME-XML has the order of dimensions {order!r}")
    samples = max(1, int(image.channels[0].get("SamplesPerPixel", "1")) if image.channels else 1)
    sizes = {axis: int(image.pixels.get(f"Size{axis}", "1")) for axis in order}
    sizes["C"] = max(1, sizes["C"] // samples)
    total = math.prod(sizes.values())
    if not 0 < total <= MAX_PLANES:
        raise ValueError(f"its OME-XML has {total} planes")
    given = block.attributes
    directory = int(given.get("IFD", "0"))
    count = given.get("PlaneCount", given.get("NumPlanes", "1" if "IFD" in given else ""))
    strides = {order[0]: 1, order[1]: sizes[order[0]]}
    strides[order[2]] = sizes[order[0]] * sizes[order[1]]
    start = sum(int(given.get(f"First{axis}", "0")) * strides[axis] for axis in order)
    rest = total - start
    # Without a count, all that is left of the image.
    number = int(count) if count else rest
    if directory < 0 or start < 0 or not 0 <= number <= rest:
        raise ValueError(f"its OME-XML lists {number} planes from {start} of {total}")
    for step in range(number):
        place = {axis: (start + step) // strides[axis] % sizes[axis] for axis in order}
        yield OmePlane(directory + step, place["C"], place["Z"], place["T"])


def _parse(text: str) -> _Document:
    """Read what is needed of an OME-XML; annotations of any length are passed over."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.buffer_text = True
    reader = _Reader()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.add_text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise ValueError(f"its OME-XML is damaged ({error})") from error
    if not reader.root:
        raise ValueError("its OME-XML has no element OME")
    companion = reader.binary_only.get("MetadataFile", "")
    return _Document(reader.root.get("UUID", ""), companion, reader.images, reader.samples)


class _Reader:
    """Collects images, their blocks of planes and their wells while expat reads."""

    def __init__(self) -> None:
        self.images: list[_Described] = []
        self.samples: dict[str, _Sample] = {}
        self.root: dict[str, str] = {}
        self.binary_only: dict[str, str] = {}
        self._image: dict[str, str] = {}
        self._plate: dict[str, str] = {}
        self._well: dict[str, str] | None = None
        self._n_fields = 0
        # The text of an element UUID, while one is open.
        self._uuid: str | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if name == "OME":
            self.root.update(attributes)
        elif name == "BinaryOnly":
            self.binary_only.update(attributes)
        elif name == "Image":
            self._image = attributes
        elif name == "Plate":
            self._plate = attributes
        elif name == "Well":
            self._well, self._n_fields = attributes, 0
        elif name == "ImageRef" and self._well is not None:
            self._n_fields += 1
            row, column = (str(int(self._well.get(axis, "0")) + 1) for axis in ("Row", "Column"))
            plate = self._plate.get("Name") or self._plate.get("ExternalIdentifier", "")
            place = _Sample(plate, row, column, str(self._n_fields))
            self.samples[attributes.get("ID", "")] = place
        else:
            self._start_pixels(name, attributes)

    def _start_pixels(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Pixels":
            about = self._image.get("Name", ""), self._image.get("ID", "")
            self.images.append(_Described(*about, attributes, [], [], {}))
        elif name == "Plane" and self.images and not self.images[-1].stage:
            self.images[-1].stage.update(attributes)
        elif name == "Channel" and self.images:
            self.images[-1].channels.append(attributes)
        elif name == "TiffData" and self.images:
            self.images[-1].blocks.append(_Block(attributes, "", ""))
        elif name == "UUID" and self.images and self.images[-1].blocks:
            block = self.images[-1].blocks[-1]
            self.images[-1].blocks[-1] = block._replace(file_name=attributes.get("FileName", ""))
            self._uuid = ""

    def add_text(self, piece: str) -> None:
        if self._uuid is not None:
            self._uuid = (self._uuid + piece)[:200]

    def end(self, tag: str) -> None:
        name = tag.rpartition(" ")[2]
        if name == "Well":
            self._well = None
        elif name == "UUID" and self._uuid is not None:
            block = self.images[-1].blocks[-1]
            self.images[-1].blocks[-1] = block._replace(uuid=self._uuid.strip())
            self._uuid = None

    def refuse_doctype(self, *_: object) -> None:
        raise ValueError("its OME-XML has a document type")


def find_uuid(text: str) -> str:
    """Give the UUID that a file has of itself, empty for none."""
    return _parse(text).uuid
