"""Simulated screens with planted truth: what to test a pipeline on, and its statistics.

`write_screen` makes images: fields composed of real nuclei, on plates that drift as plates do.
Everything is drawn from one seed, the same for any number of processes.
"""

from i2r.simulation.designs import PRESETS, ScreenDesign
from i2r.simulation.screens import write_screen

__all__ = ["PRESETS", "ScreenDesign", "write_screen"]
