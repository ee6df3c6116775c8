"""What all methods of the screen share: options, checks, and the last unit."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.analysis.screen.condition_tests import TestedWells
from i2r.analysis.screen.contrasts import ScreenPlan, describe_conditions, plan_contrasts
from i2r.analysis.screen.held_out import COMPARED, Contrast, SplitBy
from i2r.analysis.screen.layouts import warn_of_places
from i2r.analysis.screen.ranking import CallRule, Rule
from i2r.stages.base import WorkerKind, seed_sequence
from i2r.stages.methods import ByMethod
from i2r.stages.outputs import Output
from i2r.stages.screen.plan import list_unused, plan_screen
from i2r.stages.screen.ranking import write_ranking
from i2r.stages.written.screen import SCREEN
from i2r.store.experiment import Experiment

TABLES = (
    "", "-folds", "-scores", "-calls", "-statistics", "-left-out", "-features", "-wells", "-genes",
)  # fmt: skip
# Tables of units, which the last unit makes the ranking of.
_PARTS = ("-scores", "-calls", "-tests", "-left-out", "-features", "-wells", "-layout")

# Conditions that are looked at first for one that can be compared.
_FEW_CONDITIONS = 20


class Screen(ByMethod):
    """Screen: each perturbation against the negative controls.

    For every perturbation (and dose, where there are several) a classifier learns to tell its
    nuclei from those of the negative controls of the same plates; wells are held out whole. The
    score is the mean held-out balanced accuracy, 0.5 for nothing learned, with an interval for
    wells like these. Sets of negative-control wells, placed like the perturbations, go the same
    way: for networks they are the null of the p-values, beside conditions that score below chance.
    Conditions with equal numbers of positions and wells share their sets, which have no more nuclei
    than these conditions' wells.

    'cnn' trains a small network on the crops for every perturbation and fold. 'fast' fits linear
    heads to the table of 'features', or to embeddings, all at once, and tests the wells' mean
    profiles against what replicates and controls differ by: seconds for a screen, and more power
    where features show the effect. It says which features moved, whether the number of nuclei,
    the focus or the DNA content explains a call, and what the layout can't answer. 'published'
    trains the network of Image2Reg for every perturbation and fold: two ResNet-18 on nucleus and
    region, 512 + 512 features to an embedding of 512, Adam 1e-5, weight decay 5e-4, batches of 32,
    class weights, mirrored images, patience 5 on the balanced accuracy of validation wells.
    """

    stage: Literal["screen"] = "screen"
    method: Literal["cnn", "fast", "published"] = Field(
        "cnn",
        description="A small network for every perturbation and fold, linear heads on features or "
        "embeddings, or the published network",
    )
    split_by: SplitBy = Field(
        "well",
        description="What is held out whole; by position, plate or the layout's column 'batch' is "
        "stricter, by field is as published, and leaks",
    )
    n_folds: int = Field(4, ge=2, le=20, description="Folds; fewer where there are fewer wells")
    control_draws: int = Field(
        20,
        ge=0,
        description="Sets of control wells scored like a perturbation, for the null; those of "
        "rarer layouts come on top",
    )
    impactful: Rule = Field(
        "fdr",
        description="What makes a perturbation impactful: a false discovery rate below 'level', "
        "being among the 'top' scores, or a score before the knee of their curve",
    )
    level: float = Field(0.05, gt=0, lt=1, description="False discovery rate")
    top: int = Field(41, ge=1, description="Perturbations that 'impactful: top' takes")
    seed: int = Field(
        0, ge=0, description="Seed of folds, draws and trainings (default: the pipeline's)"
    )

    outputs: ClassVar[tuple[Output, ...]] = SCREEN
    version: ClassVar[int] = 10
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"quality": False, "crop": True}
    group: ClassVar[WorkerKind] = "gpu"
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")
    # Earlier one class had the options of all methods; these are the methods' own.
    settled: ClassVar[dict[str, object]] = {
        "stage": "screen", "threads": 1, "method": "cnn", "channels": ["DNA"], "scale": "plate",
        "split_by": "well", "n_folds": 4, "control_draws": 20, "permutations": 400,
        "impactful": "fdr", "level": 0.05, "top": 41, "passes": 8.0, "max_steps": 600,
        "view": "nucleus+region", "weights": None, "imagenet": True, "input_px": 224,
        "halve_regions": False, "max_epochs": 300, "seed": 0,
    }  # fmt: skip
    # Whether conditions are tested against controls that all of them share.
    shares_controls: ClassVar[bool] = False

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse layouts that lack what wells are held out by, or with too few controls."""
        where = f"stage {self.title!r}"
        if self.split_by == "batch" and "batch" not in experiment.layout:
            return [
                f"{where}: the layout has no column 'batch', found "
                f"{', '.join(experiment.layout.columns[:7])}. Add it, or split by something else."
            ]
        n_controls = int((experiment.layout["role"] == "negative_control").sum())
        if n_controls < 2:
            return [
                f"{where}: the layout has {n_controls} negative control well, "
                "expected 2 or more: wells are held out whole, so one has to be left for training."
            ]
        # To plan a screen of 2,000 plates takes a minute; one comparison is enough here.
        if self.split_by in ("well", "field") and self._plan_few(experiment).contrasts:
            return []
        if self.contrasts(experiment):
            return []
        notes = list(self.plan(experiment).notes.items())[:3]
        reasons = "; ".join(f"{name}: {note}" for name, note in notes) or "nothing is treated"
        return [
            f"{where}: no perturbation can be compared ({reasons}). Each needs two wells or "
            "more, on plates with two negative controls or more; 'fast' ranks those of one well "
            "too, held out by wells."
        ]

    def notes(self, experiment: Experiment) -> list[str]:
        """Say what the layout can't answer."""
        return [
            f"stage {self.title!r}: {words}" for words in warn_of_places(experiment.layout_by_key)
        ]

    # ------------------------------------------------------------------ units

    def plan(self, experiment: Experiment) -> ScreenPlan:
        """List what is compared, and what is not, with the fold of every well."""
        return plan_screen(
            experiment.layout_by_key, self.split_by, self.n_folds, self.control_draws, self.seed,
            shared_controls=self.shares_controls,
        )  # fmt: skip

    def _plan_few(self, experiment: Experiment) -> ScreenPlan:
        """Plan the first conditions: without groups that are held out, no others matter to them."""
        layout = experiment.layout_by_key
        compared = layout["role"].isin(COMPARED)
        names = layout.loc[compared, "condition"].unique()[:_FEW_CONDITIONS]
        own = compared & layout["condition"].isin(names)
        beside = layout["plate"].isin(layout.loc[own, "plate"].unique())
        few = layout[own | (beside & (layout["role"] == "negative_control"))]
        return plan_contrasts(
            few, group=self.split_by, n_folds=self.n_folds, n_draws=0,
            seed=seed_sequence(self.seed, "screen", "folds"), shared_controls=self.shares_controls,
        )  # fmt: skip

    def contrasts(self, experiment: Experiment) -> dict[str, Contrast]:
        """List what is compared, by condition."""
        return self.plan(experiment).contrasts

    @property
    def source(self) -> str:
        """Name the stage whose crops, features or embeddings are compared."""
        return self.upstream_title("crop", "features", "embed")

    def list_qualities(self, experiment: Experiment, keys: Iterable[str]) -> tuple[str, ...]:
        """List the tables of the fields' focus, of each well; none where it is not measured."""
        quality = self.upstream_title("quality")
        return tuple(experiment.part_url(quality, key) for key in keys) if quality else ()

    @property
    def rule(self) -> CallRule:
        """Give what makes a condition impactful."""
        return CallRule(self.impactful, self.level, self.top)

    def find_teacher(self, experiment: Experiment) -> str:
        """Name the stage that taught what is compared this screen's own labels; empty for none."""
        return ""

    def count_wells(self, experiment: Experiment) -> TestedWells | None:
        """List the wells with their numbers of nuclei where units do not test these; else none."""
        return None

    def list_parts(self, keys: Sequence[str]) -> list[str]:
        """Name the units that leave tables of scores and calls."""
        return sorted(keys)

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """Tables of all wells and conditions: scores, tests, calls, what is held out."""
        return 2**28 + 2**13 * len(experiment.well_keys)

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Rank the perturbations; write folds, scores of every fold and how p-values are made."""
        plan, parts = self.plan(experiment), self.list_parts(keys)
        counted = self.count_wells(experiment)
        # Plans are large: within a partial function Dask does not look through them.
        write = partial(
            write_ranking,
            {
                name: [experiment.part_url(f"{self.title}{name}", key) for key in parts]
                for name in _PARTS
            },
            described=describe_conditions(experiment.layout_by_key, plan),
            contrasts=list(plan.contrasts.values()),
            plan=plan._replace(contrasts={}),
            qualities=self.list_qualities(experiment, counted.keys) if counted else (),
            unused=list_unused(experiment, self.source, plan.contrasts.values()),
            teacher=self.find_teacher(experiment),
            counted=counted,
            count_seed=seed_sequence(self.seed, "screen", "counts"),
            rule=self.rule,
            method=self.method,
            split_by=self.split_by,
            title=self.title,
            urls={name: experiment.table_url(f"{self.title}{name}") for name in TABLES},
        )
        return delayed(write)()
