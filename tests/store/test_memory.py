"""An experiment that lives in memory only: for notebooks and trials, in this process."""

import uuid
from pathlib import Path

import pytest

from i2r.cluster import ClusterSpec
from i2r.errors import InputError
from i2r.pipeline.array import prepare_array
from i2r.store import files
from i2r.testing import PlateFiles, digest_experiment
from tests.conftest import run_here, short_pipeline


def test_an_experiment_in_memory_is_like_one_on_a_disk(
    plate: PlateFiles, cropped_original: Path
) -> None:
    name = uuid.uuid4().hex
    url = f"memory://{name}"
    assert run_here(short_pipeline(plate), url).exit_code == 0
    assert digest_experiment(url) == digest_experiment(str(cropped_original))
    assert run_here(short_pipeline(plate), url).ran == {}
    files.remove_tree("memory://", name)


def test_workers_which_would_not_see_it_are_refused(plate: PlateFiles) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    for cluster in (None, ClusterSpec(), ClusterSpec(type="connect", address="tcp://127.0.0.1:1")):
        with pytest.raises(InputError, match="--cluster none"):
            run_here(short_pipeline(plate), url, cluster=cluster)
    with pytest.raises(InputError, match="--cluster none"):
        prepare_array(short_pipeline(plate), url, n_slices=2, command="")
    assert files.list_folder(url) == []
