"""Fields that are flagged: saturated, debris, nothing found where something is, too few."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.nuclei import Place, describe_flags, flag_fields, tabulate_evidence
from i2r.analysis.nuclei import measure_fields as measure_nuclei
from i2r.kernels.quality import FieldEvidence, measure_evidence
from i2r.kernels.segmentation import segment_nuclei
from tests.kernels.test_uneven_fields import DISC, SIDE, draw_field

Change = Callable[[Any], Any]
NOISE = np.random.default_rng(3).normal(300, 20, (SIDE, SIDE))


def flag(images: list[Any], labels: list[Any] | None = None) -> pd.DataFrame:
    """Flag the fields of a well as the stage does."""
    stack = np.stack([np.clip(image, 0, 65535).astype(np.uint16) for image in images])
    found = np.stack(labels or [segment_nuclei(image) for image in stack])
    names = [str(number) for number in range(len(images))]
    place = Place("P1", "A01")
    nuclei = measure_nuclei(
        stack[:, None], found, place=place, fields=names, channels=["DNA"], pixel_size_um=1.0
    )
    evidence = [measure_evidence(plane, mask) for plane, mask in zip(stack, found, strict=True)]
    fields = tabulate_evidence(evidence, place=place, fields=names)
    return flag_fields(pd.DataFrame(fields), lambda: [nuclei])


@pytest.fixture(scope="module")
def usual() -> list[Any]:
    return [draw_field(40, seed=seed)[0] for seed in range(3)]


def test_usual_fields_and_empty_ones_without_contrast_are_not_flagged(usual: list[Any]) -> None:
    table = flag(usual)
    assert list(table["flag"]) == ["", "", ""]
    assert table["n_nuclei"].tolist() == [40, 40, 40]
    # An empty field among others is few; among empty ones it is as expected.
    assert list(flag([NOISE, NOISE + 5])["flag"]) == ["", ""]
    assert describe_flags(table) == []


@pytest.mark.parametrize("strength", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("sign", [1, -1], ids=["bowl", "hill"])
def test_light_that_is_brighter_than_nuclei_hides_no_lost_field(
    usual: list[Any], strength: float, sign: int
) -> None:
    y, x = np.indices((SIDE, SIDE)) / SIDE - 0.5
    light = sign * 2 * (y**2 + x**2) + (sign < 0)
    height = strength * (usual[0].max() - np.median(usual[0]))
    table = flag([image + height * light for image in usual])
    lost = table["n_nuclei"] == 0
    assert (table.loc[lost, "flag"] == "nothing found").all()
    assert (table["flag"] != "").all() or (table["n_nuclei"] > 36).all()
    # The same light on nothing is nothing.
    assert list(flag([NOISE + height * light] * 2)["flag"]) == ["", ""]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda image: np.where(DISC < 90**2, 65535, image), "saturated"),
        (lambda image: np.where(DISC < 90**2, 40000, image), "debris"),
        (lambda image: NOISE, "few nuclei"),
        (lambda image: draw_field(4, seed=9)[0], "few nuclei"),
    ],
    ids=["saturated", "debris", "empty", "few"],
)  # fmt: skip
def test_implausible_fields_are_flagged_by_kind(
    usual: list[Any], change: Change, word: str
) -> None:
    table = flag([*usual, change(usual[0])])
    assert list(table["flag"][:3]) == ["", "", ""]
    assert word in table["flag"][3].split(", ")
    (said,) = describe_flags(table)
    assert said.startswith("1 of 4 fields look implausible (1 ")
    assert "P1/A01 field 3" in said


def test_nothing_found_where_something_stands_out_is_said(usual: list[Any]) -> None:
    labels = [segment_nuclei(np.clip(image, 0, 65535).astype(np.uint16)) for image in usual]
    missed = flag(usual, [labels[0], labels[1], np.zeros_like(labels[2])])
    assert list(missed["flag"]) == ["", "", "nothing found"]
    half = np.where(labels[2] % 3 == 0, labels[2], 0)
    assert list(flag(usual, [labels[0], labels[1], half])["flag"]) == ["", "", "bright unlabelled"]


def test_a_field_in_pieces_is_said(usual: list[Any]) -> None:
    labels = [segment_nuclei(np.clip(image, 0, 65535).astype(np.uint16)) for image in usual]
    y, x = np.mgrid[:SIDE, :SIDE]
    pieces = np.where(labels[2] > 0, (y // 4 * 200 + x // 4 + 1) % 30000, 0).astype(np.int32)
    assert "fragments" in flag(usual, [labels[0], labels[1], pieces])["flag"][2]


def test_saturation_is_seen_in_the_image_before_correction() -> None:
    raw = np.full((40, 40), 300, np.uint16)
    raw[:10] = 4095
    corrected = raw * np.linspace(0.8, 1.2, 40, dtype=np.float32)
    labels = np.zeros(raw.shape, np.int32)
    assert measure_evidence(corrected, labels).saturated == 0
    assert measure_evidence(corrected, labels, raw=raw).saturated == 0.25


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (3, 5)])
def test_tiny_fields_have_evidence(shape: tuple[int, int]) -> None:
    evidence = measure_evidence(np.ones(shape, np.uint8), np.zeros(shape, np.int32))
    assert evidence.contrast == 0
    assert np.isnan(evidence.unlabelled)


def test_a_plate_read_well_by_well_is_flagged_as_one_read_at_once() -> None:
    random = np.random.default_rng(3)
    names = [(well, field) for well in ("A01", "A02", "B07", "C03") for field in "12345"]
    counts = random.integers(0, 60, len(names)) * (np.arange(len(names)) != 7)
    counts[15:] = 0  # a well without a nucleus
    index = np.repeat(np.arange(len(names)), counts)
    areas = random.lognormal(6, 1.2, len(index)) * np.where(index < 5, 9, 1)
    nuclei = pd.DataFrame(
        {"well": [names[i][0] for i in index], "field": [names[i][1] for i in index], "area_px": areas}
    )  # fmt: skip
    none = dict.fromkeys(FieldEvidence._fields, 0.0)
    fields = pd.DataFrame([{"plate": "P1", "well": w, "field": f, **none} for w, f in names])
    at_once = flag_fields(fields, lambda: [nuclei])
    by_well = flag_fields(
        fields, lambda: (nuclei[nuclei["well"] == well] for well in ("A01", "A02", "B07", "C03"))
    )
    pd.testing.assert_frame_equal(at_once, by_well)
    assert set(at_once["flag"]) > {"", "few nuclei"}
    assert at_once["n_nuclei"].tolist() == counts.tolist()
    assert set(flag_fields(fields, list)["flag"]) == {""}
