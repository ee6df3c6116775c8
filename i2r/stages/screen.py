"""Score every perturbation: how well a network tells its nuclei from the controls'."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError
from i2r.kernels.splits import assign_folds, draw_control_wells
from i2r.lazy.training import FoldPlan, score_fold
from i2r.stages.base import Group, Stage, seed_sequence
from i2r.store import tables
from i2r.store.arrays import read_array
from i2r.store.experiment import Experiment
from i2r.store.layout import conditions

Kind = Literal["treated", "positive_control", "control_draw"]
DRAW = "control draw"


class Contrast(NamedTuple):
    """A set of wells against control wells, each in a fold."""

    condition: str
    kind: Kind
    keys: tuple[str, ...]
    is_treated: tuple[bool, ...]
    folds: tuple[int, ...]

    @property
    def n_folds(self) -> int:
        """The number of folds."""
        return max(self.folds) + 1


class Screen(Stage):
    """Screen: each perturbation against the negative controls.

    For every perturbation (and dose, where there are several) a small network learns to tell its
    nuclei from those of the negative controls of the same plates; wells are held out whole. The
    score is the mean held-out balanced accuracy, 0.5 for nothing learned. Positive controls and
    random draws of negative-control wells (against the other negative controls) are scored
    alike: the draws show what scores mean nothing.
    """

    stage: Literal["screen"] = "screen"
    channels: tuple[str, ...] = Field(("DNA",), description="Channels that the network sees")
    scale: Literal["plate", "nucleus"] = Field(
        "plate",
        description="Scaling of crops: 'plate' keeps intensities, 'nucleus' stretches each to "
        "8 bit as published, which discards absolute intensity",
    )
    n_folds: int = Field(4, ge=2, le=20, description="Folds; fewer where there are fewer wells")
    control_draws: int = Field(20, ge=0, description="Draws of control wells for the null")
    passes: float = Field(8.0, gt=0, description="Times each treated nucleus is seen in training")
    max_steps: int = Field(600, ge=1, description="Most minibatches of a training")
    seed: int = Field(
        0, ge=0, description="Seed of folds, draws and trainings (default: the pipeline's)"
    )

    reads: ClassVar[Mapping[str, bool]] = {"crop": True}
    group: ClassVar[Group] = "gpu"
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels that are not there and layouts with too few controls."""
        problems = [
            f"stage {self.title!r}: plate {plate.name!r} has no channel {channel!r}, found "
            f"{', '.join(plate.channels)}. Set 'channels'."
            for plate in experiment.plates.values()
            for channel in self.channels
            if channel not in plate.channels
        ]
        n_controls = int((experiment.layout["role"] == "negative_control").sum())
        if n_controls < 2:
            problems.append(
                f"stage {self.title!r}: the layout has {n_controls} negative control well, "
                "expected 2 or more: wells are held out whole, so one has to be left for training."
            )
        return problems

    # ------------------------------------------------------------------ units

    def contrasts(self, experiment: Experiment) -> dict[str, Contrast]:
        """List what is compared, by condition, with the fold of every well."""
        return _list_contrasts(
            _Layout(experiment.layout_by_key), self.n_folds, self.control_draws, self.seed
        )

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per condition and fold."""
        return [
            f"{contrast.condition}/{fold}"
            for contrast in self.contrasts(experiment).values()
            for fold in range(contrast.n_folds)
        ]

    def used_keys(self, experiment: Experiment, key: str, upstream: Stage) -> Sequence[str]:
        """The wells of the perturbation and its controls."""
        return self.contrasts(experiment)[key.rpartition("/")[0]].keys

    def inputs(self, experiment: Experiment, key: str) -> object:
        """Describe which wells are compared and how they are folded."""
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        return [contrast.keys, contrast.is_treated, contrast.folds]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Train on all folds but one and score that one."""
        condition, _, fold = key.rpartition("/")
        contrast = self.contrasts(experiment)[condition]
        crop = self.needs[-1]
        usable = [
            (well, treated, number)
            for well, treated, number in zip(
                contrast.keys, contrast.is_treated, contrast.folds, strict=True
            )
            if experiment.ledger.result(crop, well) is not None
        ]
        plate, _ = experiment.locate(contrast.keys[0])
        plan = FoldPlan(
            urls=tuple(experiment.crops_url(crop, well) for well, _, _ in usable),
            wells=tuple(well for well, _, _ in usable),
            is_treated=tuple(treated for _, treated, _ in usable),
            folds=tuple(number for _, _, number in usable),
            fold=int(fold),
            channels=tuple(plate.channels.index(channel) for channel in self.channels),
        )
        crops = [delayed(read_channels)(url, channels=plan.channels) for url in plan.urls]
        scored = score_fold(
            delayed(list)(crops),
            plan,
            scale=self.scale,
            passes=self.passes,
            max_steps=self.max_steps,
            seed=seed_sequence(self.seed, self.title, key),
        )
        return delayed(write_scores)(
            scored,
            condition=condition,
            kind=contrast.kind,
            fold=int(fold),
            part_url=experiment.part_url(f"{self.title}-scores", key),
        )

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Rank the perturbations; write the folds and the scores of every fold."""
        contrasts = self.contrasts(experiment)
        folds = pd.DataFrame(
            [
                (c.condition, c.kind, *_split(experiment, well), treated, fold)
                for c in contrasts.values()
                for well, treated, fold in zip(c.keys, c.is_treated, c.folds, strict=True)
            ],
            columns=["condition", "kind", "plate", "well", "is_treated", "fold"],
        )
        return delayed(write_ranking)(
            [experiment.part_url(f"{self.title}-scores", key) for key in sorted(keys)],
            described=_describe_conditions(experiment.layout, contrasts),
            folds=folds,
            urls={
                name: experiment.table_url(f"{self.title}{name}")
                for name in ("", "-folds", "-scores")
            },
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """The crops of the wells compared, at most 2,000 nuclei each, and torch itself."""
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        return len(contrast.keys) * 2000 * len(self.channels) * 64 * 64 * 4 + 2**29

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        contrast = self.contrasts(experiment)[key.rpartition("/")[0]]
        fields = sum(experiment.n_fields(well) for well in contrast.keys)
        return fields * 150 * len(self.channels) * 64 * 64


class _Layout:
    """The layout as a key of a cache: equal only to itself, which holds while a run lasts."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layout) and other.table is self.table


@lru_cache(maxsize=8)
def _list_contrasts(
    layout: _Layout, n_folds: int, control_draws: int, seed: int
) -> dict[str, Contrast]:
    """List all comparisons of a layout; see `Screen.contrasts`."""
    table = layout.table
    controls = table[table["role"] == "negative_control"]
    found = {}
    for condition, rows in table[table["role"].isin(["treated", "positive_control"])].groupby(
        "condition", sort=False
    ):
        # Controls of the same plates: what differs between plates is no effect.
        matched = controls[controls["plate"].isin(rows["plate"])]
        matched = matched if len(matched) >= 2 else controls
        kind: Kind = "positive_control" if (rows["role"] == "positive_control").all() else "treated"
        if len(rows) >= 2:
            found[str(condition)] = _fold(str(condition), kind, rows, matched, n_folds, seed)
    sizes = [sum(c.is_treated) for c in found.values()]
    n_wells = min(int(np.median(sizes)) if sizes else 2, len(controls) - 2)
    if n_wells >= 2:
        draws = draw_control_wells(
            controls.index.to_numpy(dtype=str),
            n_wells=n_wells,
            n_draws=control_draws,
            seed=seed_sequence(seed, "screen", "draws"),
            plates=controls["plate"].to_numpy(dtype=str),
        )
        for number, drawn in enumerate(draws, start=1):
            name = f"{DRAW} {number:02d}"
            rows, others = controls.loc[list(drawn)], controls.drop(index=list(drawn))
            found[name] = _fold(name, "control_draw", rows, others, n_folds, seed)
    return found


def _fold(
    condition: str, kind: Kind, rows: pd.DataFrame, controls: pd.DataFrame, n_folds: int, seed: int
) -> Contrast:
    """Put the wells of a comparison into folds."""
    wells = pd.concat([rows, controls])
    is_treated = np.arange(len(wells)) < len(rows)
    folds = assign_folds(
        wells.index.to_numpy(dtype=str),
        is_treated,
        n_folds=n_folds,
        seed=seed_sequence(seed, "screen", f"{condition}/folds"),
        plates=wells["plate"].to_numpy(dtype=str),
    )
    return Contrast(
        condition,
        kind,
        tuple(map(str, wells.index)),
        tuple(is_treated.tolist()),
        tuple(folds.tolist()),
    )


def _split(experiment: Experiment, key: str) -> tuple[str, str]:
    plate, well = experiment.locate(key)
    return plate.name, well


def _describe_conditions(layout: pd.DataFrame, contrasts: Mapping[str, Contrast]) -> pd.DataFrame:
    """Make one row per condition: what it is, and why it was not compared where it was not."""
    own = layout.assign(condition=conditions(layout))
    own = own[own["role"].isin(["treated", "positive_control"])]
    first = (
        own.groupby("condition", sort=False)
        .agg(
            perturbation=("perturbation", "first"),
            gene=("gene", "first"),
            dose=("dose", "first"),
            kind=("role", "first"),
            n_wells=("well", "size"),
        )
        .reset_index()
    )
    first["note"] = np.where(
        first["condition"].isin(list(contrasts)), "", "one well: nothing can be held out"
    )
    draws = [c for c in contrasts.values() if c.kind == "control_draw"]
    drawn = pd.DataFrame(
        {
            "condition": [c.condition for c in draws],
            "perturbation": DRAW,
            "gene": "",
            "dose": float("nan"),
            "kind": "control_draw",
            "n_wells": [sum(c.is_treated) for c in draws],
            "note": "",
        }
    )
    return tables.concatenate([first, drawn]) if draws else first


def read_channels(url: str, *, channels: Sequence[int]) -> np.ndarray:
    """Read some channels of a well's crops, shape (nucleus, c, y, x)."""
    everything = slice(None)
    return np.concatenate(
        [read_array(url, region=(everything, slice(c, c + 1))) for c in channels], axis=1
    )


def write_scores(
    scored: Mapping[str, Any], *, condition: str, kind: str, fold: int, part_url: str
) -> dict[str, Any]:
    """Write the score of one fold."""
    row = {"condition": condition, "kind": kind, "fold": fold, **scored}
    tables.write_table(part_url, pd.DataFrame([row]))
    return {"nuclei": int(row["n_test_treated"] + row["n_test_control"])}


def write_ranking(
    parts: Sequence[str], *, described: pd.DataFrame, folds: pd.DataFrame, urls: Mapping[str, str]
) -> dict[str, Any]:
    """Write the ranking, the folds and the scores per fold."""
    scores = tables.concatenate([tables.read_table(part) for part in parts])
    if not scores["balanced_accuracy"].notna().any():
        raise I2RError("no perturbation could be scored: there are too few nuclei everywhere.")
    tables.write_table(urls["-scores"], scores)
    tables.write_table(urls["-folds"], folds)
    tables.write_table(urls[""], rank_conditions(scores, described))
    return {}


def rank_conditions(scores: pd.DataFrame, described: pd.DataFrame) -> pd.DataFrame:
    """Average the folds of each condition and rank what is no draw of controls.

    Parameters
    ----------
    scores
        One row per condition and fold.
    described
        One row per condition; those without scores keep their place at the end.

    Returns
    -------
    DataFrame
        Sorted by score: rank (0 for draws), condition, perturbation, gene, dose, kind, score
        (mean held-out balanced accuracy over folds), spread (their standard deviation), auc,
        n_folds, n_wells, n_nuclei (held-out treated nuclei over all folds), note.
    """
    scored = scores.groupby("condition").agg(
        score=("balanced_accuracy", "mean"),
        spread=("balanced_accuracy", "std"),
        auc=("auc", "mean"),
        n_folds=("balanced_accuracy", "count"),
        n_nuclei=("n_test_treated", "sum"),
        fold_notes=("note", "max"),
    )
    ranking = described.merge(scored, on="condition", how="left")
    ranking["note"] = ranking["note"].where(
        ranking["note"] != "", ranking.pop("fold_notes").fillna("")
    )
    for name in ("n_folds", "n_nuclei"):
        ranking[name] = ranking[name].fillna(0).astype(int)
    ranking = ranking.sort_values(
        ["score", "condition"], ascending=[False, True], na_position="last", ignore_index=True
    )
    counts = (ranking["kind"] != "control_draw") & ranking["score"].notna()
    ranking.insert(0, "rank", np.where(counts, counts.cumsum(), 0))
    order = ["rank", "condition", "perturbation", "gene", "dose", "kind", "score", "spread", "auc"]
    return ranking[[*order, "n_folds", "n_wells", "n_nuclei", "note"]]
