"""Stages that do next to nothing, and can be told to go wrong."""

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError
from i2r.pipeline.spec import Pipeline, resolve_needs
from i2r.stages.base import FINISH, WHOLE, Stage, Survey, WorkerKind
from i2r.store.experiment import Experiment

WELLS = ("A01", "A02", "A03", "A04", "A05", "A06")


def act(behaviour: str, name: str, log: str, *, wait_s: float = 0.0) -> dict[str, Any]:
    """Do what a unit was told to, leaving one line per attempt in the log."""
    with open(log, "a") as file:  # one short line: written whole, also by several at once
        file.write(f"{name}\t{os.getpid()}\n")
    time.sleep(wait_s)
    attempts = count_attempts(log)[name]
    if behaviour == "fail" or (behaviour == "fail twice" and attempts < 3):
        raise ValueError(f"{name} went wrong")
    if behaviour == "refuse":
        raise I2RError(f"{name}: found a stub, expected a stage. Write one.")
    if behaviour == "die" or (behaviour == "die once" and attempts < 2):
        os._exit(1)
    if behaviour == "hog" or (behaviour == "hog once" and attempts < 2):
        held = []
        while True:  # until the worker is killed for it
            held.append(bytearray(os.urandom(1024)) * 2**14)
            time.sleep(0.01)
    if behaviour == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if behaviour == "interrupt":
        raise KeyboardInterrupt
    if behaviour == "exclude":
        return {"fields": 1, "excluded": {"2": "truncated"}}
    return {"fields": 2, "pid": os.getpid(), "thread": threading.get_ident()}


def count_attempts(log: str | Path) -> Counter[str]:
    """Count how often each unit was begun."""
    path = Path(log)
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.partition("\t")[0] for line in lines)


class Stub(Stage):
    """A stage with one unit per well."""

    stage: str = "stub"
    log: str = Field(description="File with one line per attempt")
    behave: dict[str, str] = Field({}, description="What single units do, by key")
    wait_s: float = Field(0.0, description="How long a unit takes")
    value: int = Field(0, description="Changes the result")
    gpu: bool = Field(False, description="Whether it wants GPU workers")

    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"log", "behave", "wait_s", "gpu"})

    @property
    def worker_group(self) -> WorkerKind:
        return "gpu" if self.gpu else "cpu"

    def build(self, experiment: Experiment, key: str) -> Delayed:
        behaviour = self.behave.get(key, "ok")
        if behaviour == "unbuildable":
            raise ZeroDivisionError("no graph")
        return delayed(act)(behaviour, f"{self.title} {key}", self.log, wait_s=self.wait_s)


class Source(Stub):
    """Brings six wells in, without a single file."""

    stage: str = "source"
    wells: tuple[str, ...] = Field(WELLS, description="What there is")

    def survey(self) -> Survey:
        return Survey(make_layout(self.wells), pd.DataFrame({"plate": [], "well": []}))


class Finishing(Stub):
    """Has a last unit too."""

    stage: str = "finishing"

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        behaviour = self.behave.get(FINISH, "ok")
        return delayed(act)(behaviour, f"{self.title} *", self.log, wait_s=len(keys) * 0.0)


class Whole(Stub):
    """One unit for the whole experiment."""

    stage: str = "whole"

    def keys(self, experiment: Experiment) -> list[str]:
        return [WHOLE]


class Merged(Whole):
    """One unit for the whole experiment, whose table the last unit makes."""

    stage: str = "merged"

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        return delayed(act)("ok", f"{self.title} *", self.log, wait_s=0.0)


class Pairs(Stub):
    """Units that are not wells, each of which uses two wells."""

    stage: str = "pairs"

    def keys(self, experiment: Experiment) -> list[str]:
        return ["A01+A02", "A03+A04", "A05+A06"]

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> list[str]:
        return [f"P1/{well}" for well in key.split("+")]


class Passes(Stub):
    """Every well twice, with one unit between that needs all of the first."""

    stage: str = "passes"

    def keys(self, experiment: Experiment) -> list[str]:
        first, second = ([f"{word}/{well}" for well in WELLS] for word in ("first", "second"))
        return [*first, "between", *second]

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> list[str]:
        return [] if key == "between" else [f"P1/{key.rpartition('/')[2]}"]

    def follows(self, experiment: Experiment, key: str) -> list[str]:
        if key == "between":
            return [f"first/{well}" for well in WELLS]
        return ["between"] if key.startswith("second") else []


class Nothing(Stub):
    """No unit at all."""

    stage: str = "nothing"

    def keys(self, experiment: Experiment) -> list[str]:
        return []


def make_layout(wells: Sequence[str] = WELLS) -> pd.DataFrame:
    """Make the layout of a plate with two fields per well."""
    return pd.DataFrame(
        {
            "plate": "P1", "well": wells, "perturbation": "x", "gene": "", "dose": float("nan"),
            "replicate": "", "role": "negative_control", "fields": [["1", "2"] for _ in wells],
            "n_fields": 2, "height_px": 4, "width_px": 5, "dtype": "uint16", "pixel_size_um": 1.0,
            "channels": [["DNA", "ER"] for _ in wells],
        }
    )  # fmt: skip


def make_pipeline(*stages: Stage) -> Pipeline:
    """Put stages into a pipeline, as a file would."""
    return Pipeline(resolve_needs(stages, where="test"))


def chain(log: Path, *kinds: type[Stub], **changes: Mapping[str, Any]) -> Pipeline:
    """Make a pipeline of stubs: 'source', then the given ones, each reading the one before."""
    before = ""
    stages: list[Stage] = []
    for kind in (Source, *kinds):
        title = kind.model_fields["stage"].default
        options = {"log": str(log), "needs": (before,) if before else (), **changes.get(title, {})}
        stages.append(kind(**options))
        before = title
    return make_pipeline(*stages)
