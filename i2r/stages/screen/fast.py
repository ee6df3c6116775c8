"""How the screen fits linear heads to features or embeddings: passes over plates.

Up to `FEW_PLATES` plates are one unit. More are units per plate with reductions between: sums of
every plate, heads of all, calls of every plate's treated wells, calls of its controls, and the end.
They leave their arrays in ``models/<name>/``. A screen of more wells than are tested at once
(`i2r.analysis.screen.condition_blocks`) has a unit for every block of plates before the end.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.screen.held_out import COMPARED
from i2r.analysis.screen.layouts import warn_of_noise
from i2r.analysis.screen.plate_plans import FastPlan, PlatePlan
from i2r.analysis.screen.plate_sums import HELD_BYTES
from i2r.analysis.screen.ranking import CallRule
from i2r.errors import I2RError
from i2r.kernels.conditions import FOLDS
from i2r.stages.base import Stage, WorkerKind, seed_sequence
from i2r.stages.counts import count_columns, count_plate
from i2r.stages.screen.fast_units import (
    ALL,
    CONTROLS,
    HEADS,
    SUMS,
    TESTS,
    TREATED,
    PassStore,
    WellReaders,
    find_plate,
    find_shared,
    has_one_unit,
    list_blocks,
    list_followed,
    list_read,
    list_tested,
    list_units,
    run_controls,
    run_end,
    run_few,
    run_heads,
    run_rest,
    run_sums,
    run_treated,
)
from i2r.stages.screen.options import Screen
from i2r.stages.screen.plan import PassPlan, plan_passes
from i2r.store import files
from i2r.store.experiment import Experiment

PARTS = ("-scores", "-calls", "-tests", "-left-out", "-features", "-wells", "-layout")


class FastScreen(Screen):
    """Fit linear heads to the table of 'features', or to embeddings, all at once.

    Tests the wells' mean profiles against what replicates and controls differ by: seconds for a
    screen, and more power where features show the effect. It says which features moved, whether
    the number of nuclei, the focus or the DNA content explains a call, and what the layout can't
    answer.
    """

    method: Literal["fast"] = "fast"
    permutations: int = Field(
        400, ge=50, description="Draws of the null, in each of its five folds"
    )
    min_change: float = Field(
        0.0,
        ge=0,
        description="Least change of an impactful condition: of the feature that moved "
        "most, in standard deviations of control wells",
    )

    added_later: ClassVar[tuple[str, ...]] = ("min_change",)
    upstream_verbs: ClassVar[Mapping[str, bool]] = {
        "quality": False,
        "features": False,
        "embed": False,
    }
    group: ClassVar[WorkerKind] = "cpu"
    shares_controls: ClassVar[bool] = True

    @property
    def rule(self) -> CallRule:
        """Give what makes a condition impactful."""
        return super().rule._replace(min_change=self.min_change)

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse a pipeline without features, and what no screen can do without."""
        problems = []
        if not self.source:
            problems.append(
                f"stage {self.title!r}: 'fast' needs a stage 'features' or 'embed' before it. "
                "Add one, or take the method 'cnn'."
            )
        return problems + super().check(experiment)

    def notes(self, experiment: Experiment) -> list[str]:
        """Say what the layout can't answer, and whether it leaves p-values."""
        said = warn_of_noise(experiment.layout_by_key)
        return [f"stage {self.title!r}: {words}" for words in said] + super().notes(experiment)

    def plan_passes(self, experiment: Experiment) -> PassPlan:
        """Cut the comparisons into plates."""
        return plan_passes(
            experiment.layout_by_key, self.split_by, self.n_folds, self.control_draws, self.seed
        )

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit for few plates; passes over plates and reductions between them for more."""
        return list_units(self.plan_passes(experiment))

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> Sequence[str]:
        """The wells that the unit's pass goes over; of 'quality' those that it tests."""
        passes = self.plan_passes(experiment)
        if upstream.title == self.upstream_title("quality"):
            return list_tested(passes, key) or list_read(passes, key)
        return list_read(passes, key)

    def follows(self, experiment: Experiment, key: str) -> Sequence[str]:
        """The earlier passes over plates."""
        return list_followed(self.plan_passes(experiment), key)

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe which wells there are, and what is in them."""
        passes = self.plan_passes(experiment)
        return self.whole_layout(experiment) if has_one_unit(passes) else passes.digest

    def external_files(self, experiment: Experiment) -> object:
        """Nothing."""
        return []

    def list_parts(self, keys: Sequence[str]) -> list[str]:
        """Name the units that leave tables: those of blocks, and the last one."""
        return [key for key in keys if key == ALL or key.startswith(TESTS)]

    def find_teacher(self, experiment: Experiment) -> str:
        """Name the stage that taught the encoder behind embeddings this screen's own labels.

        Such an encoder has seen wells that are held out, with what is in them. Empty for features,
        and for encoders from elsewhere.
        """
        results = (experiment.ledger.result(self.source, key) for key in experiment.well_keys)
        return next((str(r["trained_by"]) for r in results if r and "trained_by" in r), "")

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Do a pass over a plate, or a reduction over all of them.

        Raises
        ------
        I2RError
            If there are embeddings of several encoders.
        """
        passes = self.plan_passes(experiment)
        urls = {name: experiment.part_url(f"{self.title}{name}", key) for name in PARTS}
        null: dict[str, Any] = {
            "n_draws": FOLDS * self.permutations,
            "seed": seed_sequence(self.seed, "screen", "permutations"),
        }
        plate, blocks = find_plate(key), list_blocks(passes)
        # A unit of some plates asks for no others: there may be thousands.
        on = [plate] if plate else blocks[key].plates if key in blocks else list(passes.plates)
        inputs = _Inputs(self, experiment, sorted(w for p in on for w in passes.plates.wells[p]))
        # Plans are large: within a partial function Dask does not look through them.
        if has_one_unit(passes):
            plan = inputs.plan_screen()
            return delayed(partial(run_few, plan, inputs.readers.make(plan.keys), null, urls))()
        store = PassStore(experiment, self.title)
        plans = inputs.plan_plates(on)
        if plate:
            run = {SUMS: run_sums, TREATED: run_treated, CONTROLS: run_controls}
            readers = inputs.readers.make(plans[plate].keys)
            return delayed(
                partial(run[key.removesuffix(plate)], store, plate, plans[plate], readers)
            )()
        done = {
            word: [p for p in plans if experiment.ledger.result(self.title, word + p) is not None]
            for word in (SUMS, TREATED, CONTROLS)
        }
        if key == HEADS:
            own = {p: plans[p] for p in done[SUMS]}
            n_comparisons = len(self.contrasts(experiment))
            return delayed(partial(run_heads, store, own, inputs.readers, n_comparisons))()
        if key in blocks:
            block = blocks[key]
            shared = find_shared(passes.blocks)
            seed = null["seed"]
            own_seed = np.random.SeedSequence(
                seed.entropy, spawn_key=(*seed.spawn_key, list(blocks).index(key))
            )
            tested = inputs.plan_screen(set(block.wells), block.comparisons)
            return delayed(
                partial(
                    run_end, store, tested, plans, done, {**null, "seed": own_seed}, urls,
                    block.comparisons, shared & set(tested.conditions),
                )
            )()  # fmt: skip
        if blocks:
            rest = passes.rest
            plan = inputs.plan_screen(None, rest)
            return delayed(partial(run_rest, store, plan, plans, done, urls, rest))()
        return delayed(partial(run_end, store, inputs.plan_screen(), plans, done, null, urls))()

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Bound the memory of a unit from above.

        A pass holds what a fold holds out of the controls of one plate, and one well besides; what
        all plates have in common grows with wells and comparisons, and by far less than nuclei do.
        """
        source = self.source
        passes, plate = self.plan_passes(experiment), find_plate(key)
        columns = 512 if source == self.upstream_title("embed") else 128
        if passes.compared:
            columns = count_columns(experiment, source, passes.compared[0], usual=columns)
        controls = largest = n_nuclei = 0
        holds_nuclei = key == HEADS or has_one_unit(passes)
        for name in [plate] if plate else passes.plates if holds_nuclei else ():
            plan = passes.plates[name]
            nuclei = count_plate(experiment, source, name, plan.keys)
            of_control = int(nuclei[np.array(plan.is_control, dtype=bool)].sum())
            controls = max(controls, of_control // plan.n_folds)  # that one fold holds out
            largest = max(largest, int(nuclei.max()))
            n_nuclei += int(nuclei.sum())
        one_plate = 4 * (4 * controls * min(columns, 128) + 8 * largest * columns) + HELD_BYTES
        if plate:
            return one_plate + 2**28
        contrasts = list(self.contrasts(experiment).values())
        heads = len(contrasts) * self.n_folds * min(columns, 128) * 8 * 4
        if key == HEADS:
            return max(heads, one_plate) + 2**28
        blocks = list_blocks(passes)
        if key == ALL and blocks:
            called = sum(len(contrasts[number].keys) for number in passes.rest) * 400
            return called + len(passes.compared) * 200 + 2**28
        chosen = blocks[key].comparisons if key in blocks else range(len(contrasts))
        wells = blocks[key].wells if key in blocks else passes.compared
        tests = len(wells) * min(columns, 384) * 8 * 24
        called = sum(len(contrasts[number].keys) for number in chosen) * 400
        # One unit holds what nuclei are called by besides: 4 bytes, copied once.
        nuclei_held = one_plate + 8 * n_nuclei if holds_nuclei else 0
        return tests + called + nuclei_held + 2**28

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field, of 85 features."""
        read = list_read(self.plan_passes(experiment), key)
        return 150 * 85 * 4 * sum(map(experiment.n_fields, read))


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

    def __init__(self, screen: "FastScreen", experiment: Experiment, wells: Sequence[str]) -> None:
        self.screen, self.experiment = screen, experiment
        self.source = source = screen.source
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

    def plan_plates(self, plates: Iterable[str]) -> dict[str, PlatePlan]:
        """Give the plans of plates, with the wells that are done."""
        done, found = set(self.keys), {}
        plans = self.screen.plan_passes(self.experiment).plates
        for plate, plan in ((name, plans[name]) for name in plates):
            own = [n for n, key in enumerate(plan.keys) if key in done]
            if own:
                found[plate] = plan._replace(
                    keys=tuple(plan.keys[n] for n in own),
                    is_control=tuple(plan.is_control[n] for n in own),
                )
        return found

    def plan_screen(
        self, wells: Collection[str] | None = None, comparisons: Sequence[int] | None = None
    ) -> FastPlan:
        """Give the plan of the screen, or of some of it, with the wells that are done."""
        screen, experiment = self.screen, self.experiment
        keys = [key for key in self.keys if wells is None or key in wells]
        contrasts = list(screen.contrasts(experiment).values())
        chosen = range(len(contrasts)) if comparisons is None else comparisons
        rows = experiment.layout_by_key.loc[keys]
        return FastPlan(
            keys=tuple(keys),
            plates=tuple(map(str, rows["plate"])),
            positions=tuple(map(str, rows["well"])),
            n_fields=tuple(len(experiment.fields(key, screen.needs)) for key in keys),
            conditions=tuple(
                str(condition) if role in COMPARED else ""
                for condition, role in zip(rows["condition"], rows["role"], strict=True)
            ),
            contrasts=tuple(contrasts[number] for number in chosen),
            by_field=screen.split_by == "field",
            doses=tuple(pd.to_numeric(rows["dose"], errors="coerce").astype(float)),
            compounds=tuple(map(str, rows["perturbation"])),
            qualities=screen.list_qualities(experiment, keys),
        )

    @property
    def readers(self) -> WellReaders:
        """Give what makes readers of features."""
        return WellReaders(self.experiment.url, self.source, self.crop)


def _find_crops(experiment: Experiment, source: str, keys: Sequence[str]) -> str:
    """Name the stage that cut what was embedded; empty for features, which name their fields."""
    if not keys:
        return ""
    url = f"{experiment.embeddings_url(source, keys[0])}/zarr.json"
    if not files.exists(url):
        return ""
    return str(json.loads(files.read_bytes(url))["attributes"]["crops"])
