"""Crops for PyTorch: every crop once per epoch, for any number of readers, in a mixed order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import i2r
from i2r.errors import InputError
from i2r.exports import dataset as module
from i2r.exports.dataset import CropDataset
from i2r.store.experiment import Experiment, open_experiment


def fingerprint(crops: list[tuple[torch.Tensor, int]]) -> list[tuple[bytes, int]]:
    return sorted((crop.numpy().tobytes(), place) for crop, place in crops)


def test_without_shuffling_the_order_is_the_tables(cropped_original: Path) -> None:
    dataset = i2r.CropDataset(str(cropped_original), shuffle=False, target="perturbation")
    experiment = open_experiment(str(cropped_original))
    crops = experiment.crops()
    found = list(dataset)
    assert len(found) == len(dataset) == crops.sizes["nucleus"]
    stacked = torch.stack([crop for crop, _ in found]).numpy()
    np.testing.assert_array_equal(stacked, crops["image"].to_numpy().astype(np.float32))
    assert dataset.classes == ["active", "control", "inert"]
    assert [dataset.classes[place] for _, place in found] == crops[
        "perturbation"
    ].to_numpy().tolist()


def test_every_crop_comes_once_per_epoch_in_another_order(
    cropped_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUFFER", 64)
    whole = list(CropDataset(str(cropped_original), shuffle=False, target="well"))
    dataset = CropDataset(str(cropped_original), seed=3, target="well")
    first, again = list(dataset), list(dataset)
    dataset.set_epoch(1)
    second = list(dataset)
    assert fingerprint(first) == fingerprint(second) == fingerprint(whole)
    order = [[crop.numpy().tobytes() for crop, _ in epoch] for epoch in (first, again, second)]
    assert order[0] == order[1]
    assert order[0] != order[2]
    # Neighbours in the stream come from several wells.
    assert len({place for _, place in first[:16]}) > 1


def test_processes_share_the_crops(cropped_original: Path) -> None:
    whole = fingerprint(list(CropDataset(str(cropped_original), shuffle=False)))
    shares = [CropDataset(str(cropped_original), rank=rank, world_size=3) for rank in range(3)]
    assert fingerprint([crop for share in shares for crop in share]) == whole
    assert sum(map(len, shares)) == len(whole)


@pytest.mark.slow
def test_workers_of_a_loader_share_the_crops(cropped_original: Path) -> None:
    whole = fingerprint(list(CropDataset(str(cropped_original), shuffle=False)))
    options = {"num_workers": 2, "multiprocessing_context": "spawn", "timeout": 120}
    loader = DataLoader(CropDataset(str(cropped_original)), batch_size=None, **options)
    assert fingerprint([(crop, int(place)) for crop, place in loader]) == whole


def test_wells_and_channels_are_chosen(cropped_original: Path) -> None:
    dataset = CropDataset(str(cropped_original), wells=["P1/A03"], channels=["DNA"], target="well")
    assert dataset.classes == ["A03"]
    crop, place = next(iter(dataset))
    assert (crop.shape, crop.dtype, place) == ((1, 32, 32), torch.float32, 0)
    batch, _ = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch.shape == (4, 1, 32, 32)
    for options, message in (
        ({"channels": ["ER"]}, "channel 'ER': unknown, expected one of DNA"),
        ({"target": "colour"}, "target 'colour': unknown"),
        ({"wells": ["P1/Z99"]}, "no crops 'crop' of these wells"),
        ({"name": "cropp"}, "no crops 'cropp'"),
    ):
        with pytest.raises(InputError, match=message):
            CropDataset(str(cropped_original), **options)


def test_the_layouts_own_columns_are_targets_and_coordinates(cropped_original: Path) -> None:
    opened = open_experiment(str(cropped_original))
    batches = ["even" if n % 2 == 0 else "odd" for n in range(len(opened.layout))]
    layout = opened.layout.assign(batch=batches, label="mine", x="3")
    experiment = Experiment(opened.url, layout=layout)
    dataset = CropDataset(experiment, target="batch", shuffle=False)
    assert dataset.classes == ["even", "odd"]
    crops = experiment.crops()
    assert [dataset.classes[place] for _, place in dataset] == crops["batch"].to_numpy().tolist()
    assert crops["label"].dtype.kind == "i", "the nucleus's number"
    assert set(crops["layout_label"].to_numpy()) == {"mine"}
    assert set(crops["layout_x"].to_numpy()) == {"3"}
    with pytest.raises(InputError, match=r"target 'fields': unknown, expected one of .*batch"):
        CropDataset(experiment, target="fields")
