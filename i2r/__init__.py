"""i2r: microscopy perturbation screens on Dask, from raw plates to ranked perturbations.

The public interface. Everything is imported when it is first used, so that ``import i2r`` and
``i2r --help`` cost nothing; type checkers see the names as if they were imported here.
"""

from typing import TYPE_CHECKING

from i2r.surroundings import check_packages, load_dask, settle

settle()

__version__ = "0.2.0"

if TYPE_CHECKING:
    from i2r.cluster import load_cluster
    from i2r.errors import I2RError, InputError
    from i2r.exports.dataset import CropDataset
    from i2r.pipeline.call import plan, run, status
    from i2r.pipeline.spec import Pipeline, load_pipeline
    from i2r.stages.base import Stage
    from i2r.stages.segment.planes import segment
    from i2r.store.experiment import Experiment, open_experiment
    from i2r.store.plate import Plate
    from i2r.store.tables import write_table
else:
    _PUBLIC = {
        "CropDataset": "i2r.exports.dataset",
        "Experiment": "i2r.store.experiment",
        "I2RError": "i2r.errors",
        "InputError": "i2r.errors",
        "Pipeline": "i2r.pipeline.spec",
        "Plate": "i2r.store.plate",
        "Stage": "i2r.stages.base",
        "load_cluster": "i2r.cluster",
        "load_pipeline": "i2r.pipeline.spec",
        "open_experiment": "i2r.store.experiment",
        "plan": "i2r.pipeline.call",
        "run": "i2r.pipeline.call",
        "segment": "i2r.stages.segment.planes",
        "status": "i2r.pipeline.call",
        "write_table": "i2r.store.tables",
    }

    def __getattr__(name: str) -> object:
        """Import a public name from where it is defined."""
        from importlib import import_module

        if name not in _PUBLIC:
            raise AttributeError(f"module 'i2r' has no attribute {name!r}")
        check_packages()
        load_dask()
        return getattr(import_module(_PUBLIC[name]), name)

    def __dir__() -> list[str]:
        return sorted(__all__)


__all__ = [
    "CropDataset",
    "Experiment",
    "I2RError",
    "InputError",
    "Pipeline",
    "Plate",
    "Stage",
    "__version__",
    "load_cluster",
    "load_pipeline",
    "open_experiment",
    "plan",
    "run",
    "segment",
    "status",
    "write_table",
]
