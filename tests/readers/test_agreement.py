"""Folders of label images against folders of true ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from i2r.errors import InputError
from i2r.kernels.metrics import combine_scores, score_segmentation
from i2r.readers.agreement import describe_score, find_worst, score_folders
from i2r.store.pictures import write_label_tiff


def squares(*places: tuple[int, int]) -> np.ndarray:
    labels = np.zeros((60, 60), np.int32)
    for i, (y, x) in enumerate(places, 1):
        labels[y : y + 10, x : x + 10] = i
    return labels


PAIRS = {
    "good": (squares((5, 5), (30, 30)), squares((5, 5), (30, 30))),
    "half": (squares((5, 5), (40, 10)), squares((5, 5), (30, 30))),
    "empty": (squares(), squares()),
    "none": (squares(), squares((5, 5))),
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    for stem, (predicted, truth) in PAIRS.items():
        write_label_tiff(str(tmp_path / "p" / f"{stem}.tif"), predicted)
        write_label_tiff(str(tmp_path / "t" / f"{stem}.tif"), truth)
    return str(tmp_path / "p"), str(tmp_path / "t")


def test_folders_are_scored_image_by_image(folders: tuple[str, str]) -> None:
    agreement = score_folders(*folders)
    assert list(agreement.by_image) == sorted(PAIRS)
    expected = combine_scores([score_segmentation(*PAIRS[stem]) for stem in sorted(PAIRS)])
    np.testing.assert_equal(agreement.total, expected)
    assert agreement.total.mean_f1 == pytest.approx((1 + 0.5 + 0) / 3)


def test_the_worst_images_come_first_without_the_empty_one(folders: tuple[str, str]) -> None:
    agreement = score_folders(*folders)
    assert find_worst(agreement, 2) == ["none", "half"]
    assert find_worst(agreement, 10) == ["none", "half", "good"]


def test_a_score_is_plain_json(folders: tuple[str, str]) -> None:
    agreement = score_folders(*folders)
    described = json.loads(
        json.dumps({s: describe_score(v) for s, v in agreement.by_image.items()}, allow_nan=False)
    )
    assert described["empty"]["mean_f1"] is None
    assert described["half"]["f1"] == [0.5] * 9
    assert described["half"]["missed"] == [1, 0, 0, 0]
    assert described["good"]["iou"][0] == 0.5


def test_a_missing_or_misshapen_prediction_is_named(folders: tuple[str, str]) -> None:
    (Path(folders[0]) / "half.tif").unlink()
    with pytest.raises(InputError, match="no label image named half"):
        score_folders(*folders)
    write_label_tiff(f"{folders[0]}/half.tif", np.zeros((5, 5), np.int32))
    with pytest.raises(InputError, match="half: score: predicted labels are"):
        score_folders(*folders)
