"""i2r: microscopy perturbation screens on Dask, from raw plates to ranked perturbations.

The public interface; everything is imported when it is first used, so that ``import i2r`` and
``i2r --help`` cost nothing.
"""

from importlib import import_module
from typing import Any

from i2r.surroundings import check_packages, load_dask, settle

settle()

__version__ = "0.2.0"

_PUBLIC = {
    "CropDataset": "i2r.exports.dataset",
    "Experiment": "i2r.store.experiment",
    "InputError": "i2r.errors",
    "I2RError": "i2r.errors",
    "Pipeline": "i2r.pipeline.spec",
    "Plate": "i2r.store.plate",
    "Stage": "i2r.stages.base",
    "load_cluster": "i2r.cluster",
    "load_pipeline": "i2r.pipeline.spec",
    "open_experiment": "i2r.store.experiment",
    "run": "i2r.pipeline.call:run",
    "write_table": "i2r.store.tables",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - the keys are names


def __getattr__(name: str) -> Any:
    """Import a public name from where it is defined."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'i2r' has no attribute {name!r}")
    check_packages()
    load_dask()
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
