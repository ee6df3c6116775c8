"""The page of the worst fields."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.readers.agreement import score_folders
from i2r.report.overlays import classify_outlines, draw_worst_fields
from i2r.store.pictures import write_label_tiff


def squares(*places: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros((40, 60), np.int32)
    for label, y, x in places:
        labels[y : y + 8, x : x + 8] = label
    return labels


def test_outlines_tell_found_missed_and_invented_nuclei() -> None:
    truth = squares((7, 2, 2), (3, 2, 30), (9, 20, 2))
    found = squares((4, 2, 2), (8, 20, 40), (2, 20, 7))
    classes = classify_outlines(found, truth)
    assert classes[2, 2] == 1
    assert classes[2, 30] == 2
    assert classes[20, 40] == 3
    assert classes[20, 2] == 2  # overlaps by less than 0.7
    assert classes[24, 12] == 0  # inside
    assert (classes == 1).sum() == 4 * 7


def test_the_page_shows_the_worst_fields_first(tmp_path: Path) -> None:
    for i in range(12):
        truth = squares(*[(k, 10 * (k % 4), 10 * (k // 4)) for k in range(1, 13)])
        write_label_tiff(str(tmp_path / "t" / f"f{i:02d}.tif"), truth)
        write_label_tiff(str(tmp_path / "p" / f"f{i:02d}.tif"), np.where(truth > i, truth, 0))
        (tmp_path / "i").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "i" / f"f{i:02d}.tif", (100 + 900 * (truth > 0)).astype("u2"))
    p, t, images = (str(tmp_path / name) for name in "pti")
    page = draw_worst_fields(score_folders(p, t), p, t, images)
    order = [page.index(f"<b>f{i:02d}</b>") for i in range(11, 1, -1)]
    assert order == sorted(order)
    assert "<b>f01</b>" not in page
    assert page.count("data:image/png;base64,") == page.count("data:image/jpeg;base64,") == 10
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    (tmp_path / "i" / "f11.tif").unlink()
    with pytest.raises(InputError, match="no image named f11"):
        draw_worst_fields(score_folders(p, t), p, t, images)
