"""An experiment that lives in memory only: for notebooks and trials, in this process."""

import uuid
from pathlib import Path

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
