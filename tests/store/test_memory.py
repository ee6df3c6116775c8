"""An experiment that lives in memory only: for notebooks and trials, in this process."""

import uuid
from pathlib import Path

import pytest

from i2r.cli.array import run_as_array
from i2r.cluster import ClusterSpec, load_cluster
from i2r.errors import InputError
from i2r.store import files
from i2r.testing import PlateFiles, digest_experiment
from tests.conftest import run_here, short_pipeline

SLURM = Path(__file__).parents[2] / "cluster" / "slurm.yaml"


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
        run_as_array(short_pipeline(plate), url, load_cluster(str(SLURM)), 2, yes=True)
    assert files.list_folder(url) == []
