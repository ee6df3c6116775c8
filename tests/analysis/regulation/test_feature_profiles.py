"""Profiles of features: relative to the plate's controls, averaged over wells and plates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.regulation.feature_profiles import (
    FeatureWells,
    average_features,
    make_standard,
    measure_standard,
    start_spread,
)
from i2r.errors import InputError
from i2r.store.tables import write_table

SHIFT, SCALE = np.array([0.0, 100.0, -5.0]), np.array([1.0, 10.0, 0.1])


def write(folder: Path, name: str, values: np.ndarray, columns: str = "abc") -> str:
    """Write a well's table as the stage does."""
    table = pd.DataFrame(values.astype(np.float32), columns=list(columns))
    for place in ("plate", "well", "field", "label", "crop"):
        table.insert(0, place, "x")
    url = str(folder / f"{name}.parquet")
    write_table(url, table)
    return url


def screen(folder: Path) -> tuple[FeatureWells, np.ndarray]:
    """Two plates on other scales, whose genes are at the same place relative to controls."""
    random = np.random.default_rng(0)
    effect = np.array([1.0, 0.0, -2.0])
    names, plates, urls, control = [], [], [], []
    for plate, (shift, scale) in enumerate([(0, 1), (SHIFT, SCALE)]):
        for name, moved in (("", 0), ("", 0), ("JUN", effect)):
            values = (random.standard_normal((4000, 3)) + moved) * scale + shift
            urls.append(write(folder, f"{plate}{len(urls)}", values))
            names.append(name)
            plates.append(f"P{plate}")
            control.append(name == "")
    return FeatureWells(tuple(names), tuple(plates), tuple(urls), tuple(control)), effect


def test_what_plates_differ_in_is_gone_and_effects_stay(tmp_path: Path) -> None:
    wells, effect = screen(tmp_path)
    found = average_features(wells)
    assert (found.genes, found.names) == (["JUN"], ["a", "b", "c"])
    np.testing.assert_allclose(found.values[0], effect, atol=0.06)


def test_the_standard_is_that_of_all_control_nuclei(tmp_path: Path) -> None:
    wells, _ = screen(tmp_path)
    first = FeatureWells(*(column[:3] for column in wells))
    standard = measure_standard(first)
    np.testing.assert_allclose(standard.mean, 0, atol=0.05)
    np.testing.assert_allclose(standard.spread, 1, atol=0.05)


def test_nuclei_added_well_by_well_spread_as_all_of_them_do() -> None:
    random = np.random.default_rng(0)
    wells = [random.normal(1e6, [1, 3], (n, 2)).astype(np.float32) for n in (5, 0, 1, 40)]
    spread = start_spread()
    for well in wells:
        spread = spread.add(well)
    standard = make_standard(spread, ["a", "b"], where="here")
    everything = np.concatenate(wells).astype(float)
    np.testing.assert_allclose(standard.mean, everything.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(standard.spread, everything.std(axis=0), rtol=1e-9)


def test_plates_without_controls_and_other_features_are_one_line(tmp_path: Path) -> None:
    wells, _ = screen(tmp_path)
    with pytest.raises(InputError, match="plate 'P1': no nuclei of negative controls"):
        average_features(wells._replace(is_control=(True, True, False, False, False, False)))
    with pytest.raises(InputError, match="0 control nuclei"):
        measure_standard(wells._replace(is_control=(False,) * 6))
    other = write(tmp_path, "other", np.ones((4, 2)), "ab")
    with pytest.raises(InputError, match="2 features, other wells have 3"):
        average_features(wells._replace(urls=(*wells.urls[:2], other, *wells.urls[3:])))
    with pytest.raises(InputError, match="no well with a gene"):
        average_features(wells._replace(names=("",) * 6))
