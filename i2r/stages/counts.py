"""How many nuclei there are, as far as it is known: what estimates of memory are made from."""

from i2r.store.experiment import Experiment

TYPICAL_NUCLEI = 150
"""In a field, while nobody has counted them."""


def count_nuclei(experiment: Experiment, source: str, well: str) -> int:
    """Give the nuclei of a well, where they are known; else what such wells have."""
    result = experiment.ledger.result(source, well)
    if result is not None and "nuclei" in result:
        return int(result["nuclei"])
    return TYPICAL_NUCLEI * experiment.n_fields(well)
