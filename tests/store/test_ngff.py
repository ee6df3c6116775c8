"""The documents: what the specification asks, checked by the OME's own models."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr_models.v05.hcs import HCSAttrs
from ome_zarr_models.v05.image import ImageAttrs
from ome_zarr_models.v05.image_label import ImageLabelAttrs
from ome_zarr_models.v05.labels import LabelsAttrs
from ome_zarr_models.v05.well import WellAttrs

from i2r.errors import InputError
from i2r.store import ngff
from i2r.types import PLATE_FORMATS, Well, parse_well

wells = st.builds(Well, st.integers(1, 32), st.integers(1, 48))


@given(found=st.lists(wells, min_size=1, max_size=6))
def test_plates_show_all_rows_and_columns_of_their_format(found: list[Well]) -> None:
    document = ngff.plate_document("P 1", found, field_count=9)
    plate = HCSAttrs.model_validate(document["attributes"]["ome"]).plate
    assert (len(plate.rows), len(plate.columns)) in PLATE_FORMATS.values()
    assert plate.version == "0.5"
    assert plate.field_count == 9
    assert {well.path for well in plate.wells} == {well.path for well in found}
    for well in plate.wells:
        row, column = plate.rows[well.rowIndex].name, plate.columns[well.columnIndex].name
        assert well.path == f"{row}/{column}"


@pytest.mark.parametrize(
    ("last", "size"),
    [("A01", (2, 3)), ("B04", (3, 4)), ("H12", (8, 12)), ("I01", (16, 24)), ("AF48", (32, 48))],
)
def test_the_smallest_format_that_holds_the_wells(last: str, size: tuple[int, int]) -> None:
    assert ngff.smallest_format([parse_well("A01"), parse_well(last)]) == size


def test_a_given_size_counts() -> None:
    document = ngff.plate_document("P", [parse_well("A01")], field_count=1, size=(16, 24))
    assert len(document["attributes"]["ome"]["plate"]["rows"]) == 16
    with pytest.raises(InputError, match="found well I01, expected 8 rows and 12 columns"):
        ngff.plate_document("P", [parse_well("I01")], field_count=1, size=(8, 12))
    with pytest.raises(InputError, match="at most 32 rows"):
        ngff.smallest_format([Well(33, 1)])


def test_wells_list_their_fields() -> None:
    document = ngff.well_document(["1", "10", "s3"])
    well = WellAttrs.model_validate(document["attributes"]["ome"]).well
    assert [image.path for image in well.images] == ["1", "10", "s3"]


@pytest.mark.parametrize("field", ["", "1_2", "../1", "é", "1 "])
def test_field_names_are_letters_and_digits(field: str) -> None:
    with pytest.raises(InputError, match="letters and digits"):
        ngff.well_document([field])


@given(
    pixel=st.one_of(st.none(), st.just(float("nan")), st.floats(0.01, 10)),
    factors=st.sampled_from([[1], [1, 5], [1, 2, 4, 8], [1, 2, 18]]),
    n_channels=st.integers(1, 8),
)
def test_images(pixel: float | None, factors: list[int], n_channels: int) -> None:
    document = ngff.image_document(
        [f"C{n}" for n in range(n_channels)], pixel_size_um=pixel, factors=factors, dtype=np.uint8
    )
    ome = document["attributes"]["ome"]
    multiscale = ImageAttrs.model_validate(ome).multiscales[0]
    assert [axis.name for axis in multiscale.axes] == ["c", "y", "x"]
    known = pixel is not None and pixel == pixel
    assert multiscale.axes[1].unit == ("micrometer" if known else None)
    scales = [d.coordinateTransformations[0].scale for d in multiscale.datasets]
    assert scales == [[1, *[(pixel if known else 1.0) * factor] * 2] for factor in factors]
    for channel in ome["omero"]["channels"]:
        assert re.fullmatch("[0-9A-F]{6}", channel["color"])
        assert channel["window"] == {"min": 0, "max": 255, "start": 0, "end": 255}


def test_coarse_pixels_lie_in_the_middle_of_those_they_cover() -> None:
    document = ngff.image_document(["DNA"], pixel_size_um=0.5, factors=[1, 2, 10])
    datasets = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    shifts = [d["coordinateTransformations"][1]["translation"] for d in datasets[1:]]
    # The first four pixels have their centres at 0, 0.5, 1 and 1.5 um.
    assert shifts == [[0, 0.25, 0.25], [0, 2.25, 2.25]]


def test_label_images_have_the_scales_of_their_image() -> None:
    image = ngff.image_document(["DNA"], pixel_size_um=0.3, factors=[1, 5])["attributes"]["ome"]
    labels = ngff.label_image_document(pixel_size_um=0.3, factors=[1, 5])["attributes"]["ome"]
    parsed = ImageLabelAttrs.model_validate(labels)
    assert parsed.image_label is not None
    assert parsed.image_label.source is not None
    assert parsed.image_label.source.image == "../../"
    for fine, coarse in zip(
        image["multiscales"][0]["datasets"], labels["multiscales"][0]["datasets"], strict=True
    ):
        for a, b in zip(
            fine["coordinateTransformations"], coarse["coordinateTransformations"], strict=True
        ):
            assert a[a["type"]][1:] == b[b["type"]]
    LabelsAttrs.model_validate(ngff.labels_document(["nuclei"])["attributes"]["ome"])


def test_colours_say_what_the_stain_is() -> None:
    names = ["Hoechst 33342", "ER", "RNA", "AGP", "Mito", "marker", "GFP"]
    assert ngff.stain_colours(names) == [
        "0000FF", "00FF00", "FFFF00", "FF8000", "FF0000", "0080FF", "00FF00",
    ]  # fmt: skip
    assert ngff.stain_colours(["1", "2"]) == ["00FFFF", "FF00FF"]


def test_a_row_is_a_plain_group() -> None:
    assert ngff.group_document() == {"zarr_format": 3, "node_type": "group", "attributes": {}}
