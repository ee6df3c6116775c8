"""Names beside marks in a drawing, where they cover nothing."""

from collections.abc import Mapping, Sequence

# Room for a letter and a line of text, 11 px high.
LETTER_PX, LINE_PX = 6.8, 11.0
# Half a mark, and from its middle to its name.
MARK_PX, GAP_PX = 3.6, 5.0


def choose_labels(
    places: Mapping[str, tuple[float, float]], names: Sequence[str], *, width: float
) -> dict[str, str]:
    """Choose the names that can be written beside their marks without covering anything.

    Parameters
    ----------
    places
        Of all marks, in units of the drawing.
    names
        Names to write, the most important first.
    width
        Of the drawing.

    Returns
    -------
    dict
        Names that neither cover another name nor another mark, with the end of the text that is
        at the mark, ``start`` or ``end``: right of the mark if there is room, or left of it.
    """
    taken: list[tuple[float, float, float]] = []
    chosen = {}
    for name in names:
        x, y = places[name]
        marks = [(a - MARK_PX, a + MARK_PX, b) for n, (a, b) in places.items() if n != name]
        length = GAP_PX + LETTER_PX * len(name)
        for anchor, low, high in (("start", x + MARK_PX, x + length), ("end", x - length, x)):
            is_free = all(
                abs(y - other) > room or high < left or low > right
                for room, covered in ((LINE_PX, taken), (LINE_PX / 2 + MARK_PX, marks))
                for left, right, other in covered
            )
            if is_free and low >= 0 and high <= width:
                taken.append((low, high, y))
                chosen[name] = anchor
                break
    return chosen
