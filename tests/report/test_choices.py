"""What is shown of many: wells by how sound their nuclei are, names by the room they have."""

import pandas as pd

from i2r.report.labels import choose_labels
from i2r.report.sections.segmentation import choose_wells
from i2r.report.source import NEGATIVE_CONTROL

# n_nuclei, n_whole, n_sound: shares 0.9, 0.5, 0.8, 1.0 of too few, 0.6, and none.
COUNTS = {
    "P1/A01": (110, 100, 90.0), "P1/A02": (100, 100, 50.0), "P1/A03": (90, 80, 64.0),
    "P1/A04": (4, 4, 4.0), "P1/A05": (110, 100, 60.0), "P1/A06": (0, 0, 0.0),
}  # fmt: skip
COLUMNS = ["n_nuclei", "n_whole", "n_sound"]
CONDITIONS = pd.Series(dict.fromkeys(COUNTS, "drug") | {"P1/A05": NEGATIVE_CONTROL})


def count(counts: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(counts, orient="index", columns=COLUMNS)


def test_best_typical_and_worst_are_by_the_share_of_sound_nuclei() -> None:
    chosen = choose_wells(count(COUNTS), CONDITIONS)
    assert list(chosen.items()) == [
        ("P1/A01", "best"), ("P1/A05", "typical"), ("P1/A02", "worst"),
    ]  # fmt: skip
    only_control = CONDITIONS.where(CONDITIONS.index != "P1/A03", NEGATIVE_CONTROL)
    only_control["P1/A05"] = "drug"
    assert choose_wells(count(COUNTS), only_control)["P1/A03"] == "negative control"


def test_without_crops_the_number_of_nuclei_counts() -> None:
    counts = count(COUNTS).assign(n_sound=float("nan"))
    chosen = choose_wells(counts, CONDITIONS)
    assert chosen["P1/A04"] == "fewest nuclei"
    assert chosen["P1/A01"] == "most nuclei"
    assert choose_wells(counts.iloc[:0], CONDITIONS) == {}


def test_names_cover_neither_names_nor_marks_and_the_first_have_precedence() -> None:
    places = {"long name": (0.0, 0.0), "near": (20.0, 5.0), "above": (20.0, 30.0)}
    first = choose_labels(places, ["long name", "near", "above"], width=300)
    # The mark of "near" is where "long name" would be written, and left of it is no room.
    assert first == {"near": "start", "above": "start"}
    places = {name: (x + 100, y) for name, (x, y) in places.items()}
    assert choose_labels(places, ["long name", "near", "above"], width=300) == {
        "long name": "end", "near": "start", "above": "start",
    }  # fmt: skip
    assert choose_labels(places, ["near", "above"], width=140) == {"above": "end"}
