"""How the screen fits linear heads to features or embeddings: passes over plates.

Up to `FEW_PLATES` plates are one unit. More are units per plate with reductions between: sums of
every plate, heads of all, calls of every plate's treated wells, calls of its controls, and the end.
They leave their arrays in ``models/<name>/``.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from i2r.errors import I2RError
from i2r.kernels.conditions import FOLDS
from i2r.lazy.contrasts import COMPARED
from i2r.lazy.plate_passes import (
    PlateCalls,
    PlateHeads,
    PlatePlan,
    PlateSums,
    Reader,
    call_controls,
    call_treated,
    sum_plate,
)
from i2r.lazy.screening import FastPlan, Fitted, finish_screen, fit_screen, score_plates
from i2r.stages.base import seed_sequence
from i2r.store import files
from i2r.store.bundles import read_arrays, write_arrays
from i2r.store.experiment import Experiment
from i2r.store.features import read_features
from i2r.store.scores import write_fast

if TYPE_CHECKING:
    from i2r.stages.screen import Screen
    from i2r.stages.screen.plan import PassPlan

ALL = "all"
"""The one unit of a screen of few plates; the last one of a larger screen."""

HEADS = "heads"
SUMS, TREATED, CONTROLS = "sums/", "treated/", "controls/"

FEW_PLATES = 3
"""Up to so many plates go one after another in one unit: a screen of seconds."""

TYPICAL_NUCLEI = 150
"""In a field, where they are not counted yet."""

PARTS = ("-scores", "-calls", "-tests", "-left-out", "-features", "-wells", "-layout")


# --------------------------------------------------------------------------- units


def list_units(plan: "PassPlan") -> list[str]:
    """List the units of a fast screen, in an order in which they may run."""
    if len(plan.plates) <= FEW_PLATES:
        return [ALL]
    passes = ([f"{word}{plate}" for plate in plan.plates] for word in (SUMS, TREATED, CONTROLS))
    sums, treated, controls = passes
    return [*sums, HEADS, *treated, *controls, ALL]


def list_followed(plan: "PassPlan", key: str) -> Sequence[str]:
    """List the units of the screen that one of them follows."""
    if len(plan.plates) <= FEW_PLATES or key.startswith(SUMS):
        return ()
    if key.startswith(TREATED):
        return (HEADS,)
    # What a plate's controls are compared with may lie on any plate.
    word = {HEADS: SUMS, ALL: CONTROLS}.get(key, TREATED)
    return [f"{word}{plate}" for plate in plan.plates]


def list_read(plan: "PassPlan", key: str) -> Sequence[str]:
    """List the wells whose features a unit reads."""
    if plate := find_plate(key):
        return plan.plates[plate].keys
    return plan.compared if len(plan.plates) <= FEW_PLATES else ()


def find_plate(key: str) -> str:
    """Give the plate of a unit; empty for units of all plates."""
    return key.partition("/")[2] if "/" in key else ""


# --------------------------------------------------------------------------- building


class _Inputs:
    """What units of a fast screen read: of the wells that are done.

    Parameters
    ----------
    screen, experiment
        The stage and its experiment.
    wells
        What may be read.

    Raises
    ------
    I2RError
        If there are embeddings of several encoders.
    """

    def __init__(self, screen: "Screen", experiment: Experiment, wells: Sequence[str]) -> None:
        self.screen, self.experiment = screen, experiment
        self.source = source = screen.needed(*screen.wanted)
        results = {key: experiment.ledger.result(source, key) for key in wells}
        self.keys = [key for key, result in results.items() if result is not None]
        encoders = {
            name for key in self.keys for name in (results[key] or {}).get("encoders", [""])
        }
        if encoders - {""}:
            raise I2RError(
                f"stage {screen.title!r}: {source!r} has embeddings of {len(encoders)} encoders, "
                "each without a class, expected those of one. Screen features, or embed with one "
                "encoder."
            )
        by_field = screen.split_by == "field"
        self.crop = _find_crops(experiment, source, self.keys) if by_field else ""

    def plan_plates(self) -> dict[str, PlatePlan]:
        """Give the plans of plates, with the wells that are done."""
        done, found = set(self.keys), {}
        for plate, plan in self.screen.plan_passes(self.experiment).plates.items():
            own = [n for n, key in enumerate(plan.keys) if key in done]
            if own:
                found[plate] = plan._replace(
                    keys=tuple(plan.keys[n] for n in own),
                    is_control=tuple(plan.is_control[n] for n in own),
                )
        return found

    def plan_screen(self) -> FastPlan:
        """Give the plan of the whole screen, with the wells that are done."""
        screen, experiment = self.screen, self.experiment
        rows = experiment.layout_by_key.loc[self.keys]
        return FastPlan(
            keys=tuple(self.keys),
            plates=tuple(map(str, rows["plate"])),
            positions=tuple(map(str, rows["well"])),
            n_fields=tuple(len(experiment.fields(key, screen.needs)) for key in self.keys),
            conditions=tuple(
                str(condition) if role in COMPARED else ""
                for condition, role in zip(rows["condition"], rows["role"], strict=True)
            ),
            contrasts=tuple(screen.contrasts(experiment).values()),
            by_field=screen.split_by == "field",
            doses=tuple(pd.to_numeric(rows["dose"], errors="coerce").astype(float)),
            compounds=tuple(map(str, rows["perturbation"])),
        )

    def make_readers(self, keys: Sequence[str]) -> list[Reader]:
        """Give what reads the features of wells, one by one."""
        read: Callable[..., Any] = read_features
        return [
            partial(
                read,
                self.experiment.part_url(self.source, key),
                self.experiment.embeddings_url(self.source, key),
                crops_url=self.experiment.part_url(self.crop, key) if self.crop else "",
            )
            for key in keys
        ]


class _Store:
    """Where the units of one fast screen leave arrays for each other."""

    def __init__(self, experiment: Experiment, title: str, plates: Sequence[str]) -> None:
        words = (SUMS, f"{HEADS}/", TREATED, CONTROLS)
        names = [f"{word}{plate}" for word in words for plate in plates]
        self._urls = {
            name: experiment.model_url(title, name).removesuffix(".pt") + ".npz"
            for name in [HEADS, *names]
        }

    def write(self, name: str, arrays: Any) -> int:
        """Write a named tuple of arrays."""
        return write_arrays(self._urls[name], arrays._asdict())

    def read(self, kind: Callable[..., Any], name: str) -> Any:
        """Read a named tuple of arrays."""
        return kind(**read_arrays(self._urls[name]))


def build_fast(screen: "Screen", experiment: Experiment, key: str) -> Delayed:
    """Build one unit of the fast screen.

    Raises
    ------
    I2RError
        If there are embeddings of several encoders.
    """
    passes = screen.plan_passes(experiment)
    urls = {name: experiment.part_url(f"{screen.title}{name}", ALL) for name in PARTS}
    null: dict[str, Any] = {
        "n_draws": FOLDS * screen.permutations,
        "seed": seed_sequence(screen.seed, "screen", "permutations"),
    }
    plate = find_plate(key)
    inputs = _Inputs(screen, experiment, passes.plates[plate].keys if plate else passes.compared)
    # Plans are large: within a partial function Dask does not look through them.
    if len(passes.plates) <= FEW_PLATES:
        plan = inputs.plan_screen()
        return delayed(partial(_run_few, plan, inputs.make_readers(plan.keys), null, urls))()
    store = _Store(experiment, screen.title, list(passes.plates))
    plans = inputs.plan_plates()
    if plate:
        run = {SUMS: _run_sums, TREATED: _run_treated, CONTROLS: _run_controls}
        readers = inputs.make_readers(plans[plate].keys)
        return delayed(partial(run[key.removesuffix(plate)], store, plate, plans[plate], readers))()
    done = {
        word: [p for p in plans if experiment.ledger.result(screen.title, word + p) is not None]
        for word in (SUMS, TREATED, CONTROLS)
    }
    if key == HEADS:
        own = {p: plans[p] for p in done[SUMS]}
        readers_of = {p: inputs.make_readers(plan.keys) for p, plan in own.items()}
        n_comparisons = len(screen.contrasts(experiment))
        return delayed(partial(_run_heads, store, own, readers_of, n_comparisons))()
    return delayed(partial(_run_end, store, inputs.plan_screen(), plans, done, null, urls))()


# --------------------------------------------------------------------------- on a worker


def _run_few(
    plan: FastPlan, readers: Sequence[Reader], null: dict[str, Any], urls: dict[str, str]
) -> dict[str, Any]:
    return write_fast(score_plates(plan, readers, **null), urls=urls)


def _run_sums(
    store: _Store, plate: str, plan: PlatePlan, readers: Sequence[Reader]
) -> dict[str, Any]:
    sums = sum_plate(plan, readers)
    return {"nuclei": int(sums.n_rows.sum()), "bytes_out": store.write(SUMS + plate, sums)}


def _run_heads(
    store: _Store, plans: dict[str, PlatePlan], readers: dict[str, list[Reader]], n: int
) -> dict[str, Any]:
    fitted, heads = fit_screen(
        plans,
        lambda plate: store.read(PlateSums, SUMS + plate),
        lambda plate, usable: sum_plate(plans[plate], readers[plate], usable=usable),
        n_comparisons=n,
    )
    written = store.write(HEADS, fitted)
    written += sum(store.write(f"{HEADS}/{plate}", own) for plate, own in heads)
    return {"bytes_out": written}


def _run_treated(
    store: _Store, plate: str, plan: PlatePlan, readers: Sequence[Reader]
) -> dict[str, Any]:
    heads = store.read(PlateHeads, f"{HEADS}/{plate}")
    calls = call_treated(plan, readers, heads)
    return {"nuclei": int(calls.counts.sum()), "bytes_out": store.write(TREATED + plate, calls)}


def _run_controls(
    store: _Store, plate: str, plan: PlatePlan, readers: Sequence[Reader]
) -> dict[str, Any]:
    heads = store.read(PlateHeads, f"{HEADS}/{plate}")

    @lru_cache(maxsize=8)
    def read_treated(other: str) -> PlateCalls:
        found: PlateCalls = store.read(PlateCalls, TREATED + other)
        return found._replace(means=found.means[:0], variances=found.variances[:0])

    calls = call_controls(plan, readers, heads, read_treated)
    return {"nuclei": int(calls.counts.sum()), "bytes_out": store.write(CONTROLS + plate, calls)}


def _run_end(
    store: _Store, plan: FastPlan, plans: dict[str, PlatePlan], done: dict[str, list[str]],
    null: dict[str, Any], urls: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    calls = (
        (plate, store.read(PlateCalls, word + plate))
        for plate in plans
        for word in (TREATED, CONTROLS)
        if plate in done[word]
    )
    fitted = store.read(Fitted, HEADS)
    return write_fast(finish_screen(plan, plans, fitted, calls, **null), urls=urls)


# --------------------------------------------------------------------------- estimates


def estimate_bytes(screen: "Screen", experiment: Experiment, key: str) -> int:
    """Bound the memory of a unit from above.

    A pass holds the controls of one plate and one well besides; what all plates have in common
    grows with wells and comparisons, and by far less than nuclei do.
    """
    source = screen.needed(*screen.wanted)
    columns = 512 if source == screen.needed("embed") else 128
    passes, plate = screen.plan_passes(experiment), find_plate(key)
    controls = largest = 0
    for plan in [passes.plates[plate]] if plate else passes.plates.values():
        nuclei = [count_nuclei(experiment, source, well) for well in plan.keys]
        of_control = sum(n for n, control in zip(nuclei, plan.is_control, strict=True) if control)
        controls, largest = max(controls, of_control), max(largest, *nuclei)
    one_plate = (4 * controls + 8 * largest) * columns * 4
    if plate:
        return one_plate + 2**28
    contrasts = screen.contrasts(experiment).values()
    heads = len(contrasts) * screen.n_folds * min(columns, 128) * 8 * 4
    tests = len(passes.compared) * min(columns, 384) * 8 * 12
    called = sum(len(contrast.keys) for contrast in contrasts) * 400
    return max(heads, one_plate) + (0 if key == HEADS else tests + called) + 2**28


def count_nuclei(experiment: Experiment, source: str, well: str) -> int:
    """Give the nuclei of a well, where they are known; else what such wells have."""
    result = experiment.ledger.result(source, well)
    if result is not None and "nuclei" in result:
        return int(result["nuclei"])
    return TYPICAL_NUCLEI * experiment.n_fields(well)


# --------------------------------------------------------------------------- where it comes from


def find_teacher(experiment: Experiment, source: str) -> str:
    """Name the stage that taught the encoder behind embeddings this screen's own labels.

    Such an encoder has seen wells that are held out, with what is in them. Empty for features,
    and for encoders from elsewhere.
    """
    results = (experiment.ledger.result(source, key) for key in experiment.well_keys)
    return next((str(r["trained_by"]) for r in results if r and "trained_by" in r), "")


def _find_crops(experiment: Experiment, source: str, keys: Sequence[str]) -> str:
    """Name the stage that cut what was embedded; empty for features, which name their fields."""
    if not keys:
        return ""
    url = f"{experiment.embeddings_url(source, keys[0])}/zarr.json"
    if not files.exists(url):
        return ""
    return str(json.loads(files.read_bytes(url))["attributes"]["crops"])
