"""Simulated screens with planted truth: what to test a pipeline on, and its statistics.

`write_screen` makes images: fields composed of real nuclei, on plates that drift as plates do.
`write_regulation` makes the other side: a network with modules, and expression and perturbation
embeddings that follow them. All is drawn from one seed, the same for any number of processes.
"""

from i2r.simulation.designs import PRESETS, ScreenDesign
from i2r.simulation.regulation import RegulationDesign, write_regulation
from i2r.simulation.screens import write_screen

__all__ = ["PRESETS", "RegulationDesign", "ScreenDesign", "write_regulation", "write_screen"]
