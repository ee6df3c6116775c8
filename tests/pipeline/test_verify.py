"""Pixels against their source: equal ones pass, every other one is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.pipeline.run import load_last_pipeline
from i2r.pipeline.verify import Comparison, compare_with_source
from i2r.store.experiment import Experiment, open_experiment
from i2r.store.images import write_image
from i2r.store.validate import find_problems
from i2r.testing import PlateFiles
from tests.conftest import run_here, short_pipeline


def compare(url: Path, **options: int) -> Comparison:
    experiment = open_experiment(str(url))
    pipeline = load_last_pipeline(experiment)
    assert pipeline is not None
    return compare_with_source(experiment, pipeline, **options)


def test_what_was_converted_is_what_was_there(cropped_original: Path) -> None:
    assert compare(cropped_original) == Comparison(16, 16, [], [], [])


def test_one_pixel_is_enough(cropped: Path) -> None:
    experiment = open_experiment(str(cropped))
    url = experiment.image_url("P1/A03", "2")
    image = np.asarray(experiment.plates["P1"].images("A03", fields=["2"])[0])
    image = image.copy()
    image[0, 5, 7] ^= 1
    write_image(url, image, channels=["DNA"])
    found = compare(cropped)
    assert len(found.differences) == 1
    assert found.differences[0].startswith(
        "plate 'P1' well 'A03' field 2 channel 'DNA': 1 of 12288 pixels differ from the source."
    )


def test_missing_planes_are_named_and_never_zeros(
    own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate, url = own_plate(channels=("DNA", "GFP")), tmp_path / "e"
    gone = plate.source / "P1" / "A02_s1_GFP.tif"
    copy = shutil.copy(gone, tmp_path)
    gone.unlink()
    run_here(short_pipeline(plate), url)
    found = compare(url)
    assert (found.n_fields, found.n_planes, found.differences) == (8, 14, [])
    assert len(found.missing) == 1
    assert found.missing[0].startswith(
        f"plate 'P1' well 'A02' field 1 channel 'GFP': missing: {gone} can't be opened"
    )
    experiment = Experiment(str(url))
    assert experiment.plates["P1"].images("A02").shape[0] == 1, "the field is not there at all"
    shutil.copy(copy, gone)
    assert "can be read now" in compare(url).missing[0]


def test_a_source_that_changed_or_went_is_named(
    own_plate: Callable[..., PlateFiles], tmp_path: Path
) -> None:
    plate, url = own_plate(), tmp_path / "e"
    run_here(short_pipeline(plate), url)
    path = plate.source / "P1" / "A01_s1_DNA.tif"
    tifffile.imwrite(path, tifffile.imread(path) + 1)
    (plate.source / "P1" / "A02_s2_DNA.tif").unlink()
    found = compare(url)
    assert (found.n_planes, found.missing) == (7, [])
    (changed,), (gone,) = found.differences, found.gone
    assert "well 'A01' field 1 channel 'DNA': 12288 of 12288 pixels differ" in changed
    assert "well 'A02' field 2 channel 'DNA': the source can't be read any more: missing" in gone


def test_damaged_images_are_named_and_the_others_compared(cropped: Path) -> None:
    experiment = Experiment(str(cropped))
    cut, gone = (
        Path(experiment.image_url("P1/A03", field), "0", "c", "0", "0", "0") for field in ("1", "2")
    )
    cut.write_bytes(cut.read_bytes()[:10])
    shutil.rmtree(gone.parents[4] / "0")
    found = compare(cropped)
    assert (found.n_planes, found.missing, found.gone) == (14, [], [])
    assert [line.partition(" (")[0] for line in found.differences] == [
        f"plate 'P1' well 'A03' field {field}: the stored image can't be read" for field in (1, 2)
    ]
    problems = "\n".join(find_problems(experiment))
    assert "A/3/1/0: damaged (the shard's index is damaged)" in problems
    assert "A/3/2/0: missing" in problems


def test_samples_are_of_the_asked_size_and_repeatable(cropped_original: Path) -> None:
    assert compare(cropped_original, sample=5) == Comparison(5, 5, [], [], [])
    assert compare(cropped_original, sample=500).n_fields == 16
    with pytest.raises(InputError, match="expected at least 1"):
        compare(cropped_original, sample=0)


def test_before_anything_is_converted(cropped: Path) -> None:
    shutil.rmtree(cropped / "ledger")
    with pytest.raises(InputError, match="no converted images"):
        compare(cropped)
    assert json.loads((cropped / "experiment.json").read_text())
