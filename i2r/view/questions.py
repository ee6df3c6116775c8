"""What the page may ask, by name: each question takes strings and gives values or a picture."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from i2r.errors import InputError
from i2r.report.images import Window
from i2r.report.source import ReportSource
from i2r.view import contents, pictures
from i2r.view.channels import suggest_channel
from i2r.view.contents import plain
from i2r.view.live import LiveExperiment
from i2r.view.neighbours import find_nearest, read_own_values

Arguments = Mapping[str, str]


class Picture(NamedTuple):
    """A picture and its kind, such as ``image/png``."""

    data: bytes
    kind: str


def answer(live: LiveExperiment, name: str, given: Arguments) -> dict[str, Any] | Picture:
    """Answer a question of the page.

    Parameters
    ----------
    live
        The experiment.
    name
        One of the questions below.
    given
        What the page says; names are only ever compared with those of the layout and the ledger.

    Raises
    ------
    InputError
        If there is no such question, or nothing of that name in the experiment.
    """
    source = live.source()
    if name == "about":
        return contents.describe(source, live.version)
    if name == "version":
        return {"version": live.version}
    if name not in QUESTIONS:
        raise InputError(f"no question {name!r}.")
    return QUESTIONS[name](source, given)


def _plate(source: ReportSource, given: Arguments) -> dict[str, Any]:
    return contents.draw_plate(source, given.get("plate", ""), given.get("measure", ""))


def _hits(source: ReportSource, given: Arguments) -> dict[str, Any]:
    return contents.list_hits(source, given.get("screen", ""))


def _condition(source: ReportSource, given: Arguments) -> dict[str, Any]:
    return contents.describe_condition(source, given.get("condition", ""), given.get("screen", ""))


def _well(source: ReportSource, given: Arguments) -> dict[str, Any]:
    found = contents.describe_well(source, given.get("key", ""), given.get("segment", ""))
    usable = [f for f in found["fields"] if not f["reason"]]
    contrast = (
        pictures.find_field_contrast(source, found["key"]) if usable and found["converted"] else []
    )
    channel = suggest_channel(source, found["condition"], given.get("screen", ""))
    return {**found, "contrast": contrast, "moved_channel": channel}


def _nuclei(source: ReportSource, given: Arguments) -> dict[str, Any]:
    """List nuclei of a well, of a condition, or of the controls of its plates."""
    stage = contents.find_stage(source, "crop", given.get("crop", "")).title
    if "key" in given:
        keys = [contents.find_key(source, given["key"])]
    else:
        wells = source.wells
        keys = wells.index[wells["condition"].astype(str) == given.get("condition", "")].tolist()
        if given.get("controls"):
            keys = contents.list_control_wells(source, keys) or keys
    if not keys:
        raise InputError(f"no condition {given.get('condition')!r}. Choose one of the table.")
    condition = given.get("condition") or str(source.wells.loc[keys[0], "condition"])
    count, offset = _whole(given, "count", 24), _whole(given, "offset", 0)
    chosen, total = pictures.list_nuclei(source, stage, keys, count=count, offset=max(0, offset))
    return {
        "crop": stage, "total": total, "n_wells": len(keys),
        "nuclei": [nucleus._asdict() for nucleus in chosen],
        "contrast": pictures.find_contrast(source, stage) if chosen else [],
        "moved_channel": suggest_channel(source, condition, given.get("screen", "")),
    }  # fmt: skip


def _crops(source: ReportSource, given: Arguments) -> Picture:
    """Draw crops, asked for as ``PLATE/B03~17`` one after another with spaces between."""
    stage = contents.find_stage(source, "crop", given.get("crop", "")).title
    chosen = []
    # Names of plates may hold anything, so the page writes them percent-encoded once more.
    for item in filter(None, given.get("nuclei", "").split(" ")):
        key, _, place = item.rpartition("~")
        chosen.append((unquote(key), _parse_whole(place, "crop")))
    data = pictures.draw_sheet(
        source, stage, chosen, channel=_channel(source, given), window=_window(given)
    )
    return Picture(data, "image/png")


def _field(source: ReportSource, given: Arguments) -> Picture:
    plane = pictures.read_field(
        source, given.get("key", ""), given.get("field", ""), _channel(source, given)
    )
    most = _whole(given, "most", 1400)
    return Picture(pictures.draw_field(plane, _window(given), most_px=most), "image/jpeg")


def _outlines(source: ReportSource, given: Arguments) -> Picture:
    labels = _labels(source, given)
    chosen = 0
    if given.get("index"):
        stage = contents.find_stage(source, "crop", given.get("crop", "")).title
        crop = _whole(given, "index", -1)
        own = (n for n in pictures.list_crops(source, stage, given["key"]) if n.crop == crop)
        chosen = next((n.label for n in own if n.field == given["field"]), 0)
    data = pictures.draw_outlines(labels, chosen=chosen, most_px=_whole(given, "most", 1400))
    return Picture(data, "image/png")


def _labels(source: ReportSource, given: Arguments) -> Any:
    segment = contents.find_stage(source, "segment", given.get("segment", "")).title
    return pictures.read_labels(source, given.get("key", ""), given.get("field", ""), segment)


def _at(source: ReportSource, given: Arguments) -> dict[str, Any]:
    """Name the nucleus at a place of a field, given as shares of its height and width."""
    labels = _labels(source, given)
    y, x = (
        min(n - 1, max(0, int(_number(given, side, 0.0) * n)))
        for n, side in zip(labels.shape, ("y", "x"), strict=True)
    )
    label = int(labels[y, x])
    stage = contents.find_stage(source, "crop", given.get("crop", "")).title
    crops = pictures.list_crops(source, stage, given["key"])
    own = [n for n in crops if n.label == label and n.field == given["field"]]
    return {"label": label, "crop": own[0].crop if own else None}


def _nucleus(source: ReportSource, given: Arguments) -> dict[str, Any]:
    """Say what was measured of a nucleus."""
    key, crop = contents.find_key(source, given.get("key", "")), _whole(given, "index", -1)
    stage = contents.find_stage(source, "crop", given.get("crop", "")).title
    own = next((n for n in pictures.list_crops(source, stage, key) if n.crop == crop), None)
    if own is None:
        raise InputError(f"{key}: no crop {crop} of {stage!r} now. Load the page again.")
    told: dict[str, Any] = {"nucleus": own._asdict(), "measured": {}, "features": []}
    for segment in source.stages_of("segment")[:1]:
        measured = pictures.describe_nucleus(source, segment.title, own)
        told["measured"] = {name: plain(value) for name, value in measured.items()}
    if space := given.get("space"):
        try:
            values = read_own_values(source, space, key, crop)
        except InputError as error:
            told["problem"] = str(error)
        else:
            values.sort(key=lambda item: -abs(item[2]) if item[2] == item[2] else 0.0)
            told["features"] = [[n, plain(v), plain(z)] for n, v, z in values]
    return told


def _nearest(source: ReportSource, given: Arguments) -> dict[str, Any]:
    found = find_nearest(
        source, given.get("space", ""), given.get("key", ""), _whole(given, "index", -1),
        count=min(96, max(1, _whole(given, "count", 24))),
    )  # fmt: skip
    conditions = source.wells["condition"]
    return {
        "nuclei": [
            {
                **item.nucleus._asdict(), "distance": item.distance,
                "condition": str(conditions[item.nucleus.key]),
            }
            for item in found.found
        ],
        "n_nuclei": found.n_nuclei, "n_plates": found.n_plates, "n_left_out": found.n_left_out,
    }  # fmt: skip


def _channel(source: ReportSource, given: Arguments) -> int:
    name = given.get("channel", "")
    if not name:
        return 0
    if name not in source.channels:
        raise InputError(f"no channel {name!r}, expected {', '.join(source.channels)}.")
    return source.channels.index(name)


def _window(given: Arguments) -> Window:
    black, white = _number(given, "black", 0.0), _number(given, "white", 65535.0)
    return Window(black, max(white, black + 1.0))


def _whole(given: Arguments, name: str, default: int) -> int:
    return _parse_whole(given[name], name) if given.get(name) else default


def _parse_whole(text: str, name: str) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise InputError(f"{name}: found {text!r}, expected a whole number.")
    return int(text)


def _number(given: Arguments, name: str, default: float) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError as error:
        raise InputError(f"{name}: found {given[name]!r}, expected a number.") from error
    if not abs(value) < 1e12:
        raise InputError(f"{name}: found {given[name]!r}, expected a finite number.")
    return value


QUESTIONS: dict[str, Callable[[ReportSource, Arguments], dict[str, Any] | Picture]] = {
    "plate": _plate,
    "hits": _hits,
    "condition": _condition,
    "well": _well,
    "nuclei": _nuclei,
    "nucleus": _nucleus,
    "nearest": _nearest,
    "at": _at,
    "crops": _crops,
    "field": _field,
    "outlines": _outlines,
}
