"""XML read piece by piece: bounded in size, depth and text, and without entities."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from xml.parsers import expat

from i2r.errors import InputError
from i2r.store import files

# 384 wells of 9 fields with 5 channels and 20 planes take 0.8 GB; nothing is kept in memory.
MAX_BYTES = 2**31
# A document with deeper nesting or longer texts is none of a microscope's.
MAX_DEPTH = 32
MAX_TEXT = 2**16
_PIECE = 2**20


class Element(NamedTuple):
    """An element: its name without namespace, its attributes, and the texts of its children.

    ``text`` is its own, of an element without children.
    """

    name: str
    attributes: dict[str, str]
    texts: dict[str, str]
    text: str = ""


def read_elements(url: str, names: AbstractSet[str]) -> Iterator[Element]:
    """Read the elements of the given names, in the order in which they end.

    Parameters
    ----------
    url
        An XML file.
    names
        Names of elements, without namespace. Texts of their direct children come with them; of
        children of one name the first counts.

    Raises
    ------
    InputError
        If the file is no XML, has a document type (the door to entities that grow without bound
        or name other files), or exceeds a bound.
    FileNotFoundError
        If there is no such file.
    """
    where = files.without_secrets(url)
    reader = _Reader(names, where)
    n_read = 0
    with files.open_file(url) as file:
        while piece := file.read(_PIECE):
            n_read += len(piece)
            if n_read > MAX_BYTES:
                raise InputError(f"{where}: over {MAX_BYTES} bytes of XML. Give a smaller index.")
            yield from reader.feed(piece)
        yield from reader.feed(b"", last=True)


class _Reader:
    """Collects elements while expat reads."""

    def __init__(self, names: AbstractSet[str], where: str) -> None:
        self._names = names
        self._where = where
        self._open: list[Element] = []
        self._text: list[str] = []
        self._n_text = 0
        self._ready: list[Element] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add_text

    def feed(self, data: bytes, *, last: bool = False) -> list[Element]:
        """Take some bytes; give the elements that ended in them."""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise InputError(
                f"{self._where}: no whole XML ({error}). Copy it from the microscope again."
            ) from error
        ready, self._ready = self._ready, []
        return ready

    def _refuse_doctype(self, *_: object) -> None:
        raise InputError(
            f"{self._where}: found a document type, expected the plain XML that microscopes "
            "write. Copy it from the microscope again."
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise InputError(
                f"{self._where}: XML nested over {MAX_DEPTH} deep, expected a microscope's index. "
                "Copy it again."
            )
        self._open.append(Element(name.rpartition(" ")[2], attributes, {}))
        self._text, self._n_text = [], 0

    def _add_text(self, text: str) -> None:
        self._n_text += len(text)
        if self._n_text > MAX_TEXT:
            raise InputError(
                f"{self._where}: a text of over {MAX_TEXT} characters in the XML, expected a "
                "microscope's index. Copy it again."
            )
        self._text.append(text)

    def _end(self, _: str) -> None:
        element, text = self._open.pop(), "".join(self._text).strip()
        if self._open and self._text:
            self._open[-1].texts.setdefault(element.name, text)
        self._text = []
        if element.name in self._names:
            self._ready.append(element._replace(text=text))
