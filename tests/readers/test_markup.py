"""XML from strangers: what is read, and everything that is refused before it hurts."""

from pathlib import Path

import pytest

from i2r.errors import InputError
from i2r.readers import xml as markup
from i2r.readers.xml import read_elements


def read(path: Path, text: str, *names: str) -> list[markup.Element]:
    path.write_text(text)
    return list(read_elements(str(path), frozenset(names)))


def test_elements_come_with_attributes_and_the_texts_of_their_children(tmp_path: Path) -> None:
    text = '<a xmlns="urn:x"><b k="1"><c> one </c><d><c>deep</c></d><c>two</c></b><b/></a>'
    first, second = read(tmp_path / "x.xml", text, "b")
    assert (first.name, first.attributes, first.texts["c"]) == ("b", {"k": "1"}, "one")
    assert (second.attributes, second.texts) == ({}, {})


def test_elements_are_read_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "_PIECE", 7)
    text = "<a>" + "".join(f"<b><c>{n}&amp;</c></b>" for n in range(50)) + "</a>"
    found = read(tmp_path / "x.xml", text, "b")
    assert [element.texts["c"] for element in found] == [f"{n}&" for n in range(50)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY e "ha">]><a>&e;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        ("<a>" * 40 + "</a>" * 40, "nested over 32 deep"),
        (f"<a><b>{'x' * (markup.MAX_TEXT + 1)}</b></a>", "a text of over"),
        ("<a><b></a>", "no whole XML"),
        ("<a><b>", "no whole XML"),
        ("", "no whole XML"),
    ],
)
def test_what_is_no_plain_xml_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "x.xml", text, "b")
    assert "\n" not in str(error.value)


def test_no_document_is_read_beyond_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="over 100 bytes"):
        read(tmp_path / "x.xml", f"<a>{' ' * 200}</a>", "b")
