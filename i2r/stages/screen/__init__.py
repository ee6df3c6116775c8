"""Score every perturbation: how well its nuclei can be told from the controls'."""

from i2r.stages.screen.cnn import CnnScreen
from i2r.stages.screen.fast import FastScreen
from i2r.stages.screen.fast_units import ALL
from i2r.stages.screen.options import TABLES, Screen
from i2r.stages.screen.published import PublishedScreen

Screen.methods = {"cnn": CnnScreen, "fast": FastScreen, "published": PublishedScreen}

__all__ = ["ALL", "TABLES", "CnnScreen", "FastScreen", "PublishedScreen", "Screen"]
