"""The units of the fast screen: which there are, what they do, where they leave arrays."""

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from i2r.analysis.screen.condition_blocks import Block
from i2r.analysis.screen.head_fitting import Fitted, fit_screen
from i2r.analysis.screen.plate_calls import PlateCalls, PlateHeads, call_controls, call_treated
from i2r.analysis.screen.plate_plans import FastPlan, PlatePlan, Reader
from i2r.analysis.screen.plate_sums import PlateSums, sum_plate
from i2r.analysis.screen.screening import FastScores, finish_rest, finish_screen, score_plates
from i2r.stages.screen.plan import PassPlan
from i2r.store import files, tables
from i2r.store.catalog import Catalog, quote_name
from i2r.store.experiment import Experiment
from i2r.store.features import read_features
from i2r.store.outputs import damaged

HEADS = "heads"
SUMS, TREATED, CONTROLS = "sums/", "treated/", "controls/"
TESTS = "tests/"
ALL = "all"
"""The one unit of a screen of few plates; the last one of a larger screen."""

FEW_PLATES = 3
"""Up to so many plates go one after another in one unit: a screen of seconds."""


def has_one_unit(plan: PassPlan) -> bool:
    """Tell whether the plates are few enough for one unit."""
    return len(plan.plates) <= FEW_PLATES


def list_units(plan: PassPlan) -> list[str]:
    """List the units of a fast screen, in an order in which they may run."""
    if has_one_unit(plan):
        return [ALL]
    passes = ([f"{word}{plate}" for plate in plan.plates] for word in (SUMS, TREATED, CONTROLS))
    sums, treated, controls = passes
    return [*sums, HEADS, *treated, *controls, *list_blocks(plan), ALL]


def list_blocks(plan: PassPlan) -> dict[str, Block]:
    """List the units that test blocks of plates; none where all wells are tested at the end."""
    if has_one_unit(plan) or len(plan.blocks) < 2:
        return {}
    return {f"{TESTS}{number:04d}": block for number, block in enumerate(plan.blocks, start=1)}


def list_followed(plan: PassPlan, key: str) -> Sequence[str]:
    """List the units of the screen that one of them follows."""
    if has_one_unit(plan) or key.startswith(SUMS):
        return ()
    if key.startswith(TREATED):
        return (HEADS,)
    blocks = list_blocks(plan)
    if key in blocks:
        return [f"{CONTROLS}{plate}" for plate in blocks[key].plates]
    if key == ALL and blocks:
        return list(blocks)
    # What a plate's controls are compared with may lie on any plate.
    word = {HEADS: SUMS, ALL: CONTROLS}.get(key, TREATED)
    return [f"{word}{plate}" for plate in plan.plates]


def list_read(plan: PassPlan, key: str) -> Sequence[str]:
    """List the wells whose features a unit reads."""
    if plate := find_plate(key):
        return plan.plates.wells[plate]
    return plan.compared if has_one_unit(plan) else ()


def list_tested(plan: PassPlan, key: str) -> Sequence[str]:
    """List the wells whose profiles a unit tests."""
    blocks = list_blocks(plan)
    if key in blocks:
        return blocks[key].wells
    return plan.compared if key == ALL and not blocks else ()


def find_shared(blocks: Sequence[Block]) -> set[str]:
    """Name the conditions that several blocks test."""
    counts = Counter(name for block in blocks for name in block.conditions)
    return {name for name, count in counts.items() if count > 1 and name}


def find_plate(key: str) -> str:
    """Give the plate of a unit; empty for units of all plates."""
    return "" if key.startswith(TESTS) else key.partition("/")[2]


class WellReaders(NamedTuple):
    """Makes what reads the features of wells, where they are read: of few wells at a time.

    Attributes
    ----------
    url
        The experiment.
    source, crop
        The stages that measured or embedded nuclei, and that cut them; "" where fields are named.
    """

    url: str
    source: str
    crop: str

    def make(self, keys: Sequence[str]) -> list[Reader]:
        """Give what reads the features of each of some wells."""
        catalog = Catalog(self.url)
        read: Callable[..., Any] = read_features
        return [
            partial(
                read,
                catalog.part_url(self.source, key),
                catalog.embeddings_url(self.source, key),
                crops_url=catalog.part_url(self.crop, key) if self.crop else "",
            )
            for key in keys
        ]


class PassStore:
    """Where the units of one fast screen leave arrays for each other."""

    def __init__(self, experiment: Experiment, title: str) -> None:
        self._url = experiment.path("models", title)

    def _locate(self, name: str) -> str:
        """Give the URL of a named tuple."""
        parts = map(quote_name, f"{name}.pt".split("/"))
        return files.join_url(self._url, *parts).removesuffix(".pt") + ".npz"

    def write(self, name: str, arrays: Any) -> int:
        """Write a named tuple of arrays."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays._asdict())
        return files.write_bytes(self._locate(name), buffer.getvalue())

    def read(self, kind: Callable[..., Any], name: str) -> Any:
        """Read a named tuple of arrays.

        Raises
        ------
        DamageError
            If the file is not what `write` wrote.
        """
        url = self._locate(name)
        try:
            with np.load(io.BytesIO(files.read_bytes(url)), allow_pickle=False) as bundle:
                return kind(**{name: bundle[name] for name in bundle.files})
        except (ValueError, zipfile.BadZipFile, EOFError) as error:
            raise damaged(url, str(error)[:120]) from error


def run_few(
    plan: FastPlan, readers: Sequence[Reader], null: dict[str, Any], urls: dict[str, str]
) -> dict[str, Any]:
    """Screen a few plates, one after another."""
    return write_scores(score_plates(plan, readers, **null), urls)


def run_sums(
    store: PassStore, plate: str, plan: PlatePlan, readers: Sequence[Reader]
) -> dict[str, Any]:
    """Sum what a plate's wells hold."""
    sums = sum_plate(plan, readers)
    return {"nuclei": int(sums.n_rows.sum()), "bytes_out": store.write(SUMS + plate, sums)}


def run_heads(
    store: PassStore, plans: dict[str, PlatePlan], readers: WellReaders, n: int
) -> dict[str, Any]:
    """Fit the heads of all comparisons from the sums of all plates."""
    fitted, heads = fit_screen(
        plans,
        lambda plate: store.read(PlateSums, SUMS + plate),
        lambda plate, usable: sum_plate(
            plans[plate], readers.make(plans[plate].keys), usable=usable
        ),
        n_comparisons=n,
    )
    written = store.write(HEADS, fitted)
    written += sum(store.write(f"{HEADS}/{plate}", own) for plate, own in heads)
    return {"bytes_out": written}


def run_treated(
    store: PassStore, plate: str, plan: PlatePlan, readers: Sequence[Reader]
) -> dict[str, Any]:
    """Call the nuclei of a plate's treated wells."""
    heads = store.read(PlateHeads, f"{HEADS}/{plate}")
    calls = call_treated(plan, readers, heads)
    return {"nuclei": int(calls.counts.sum()), "bytes_out": store.write(TREATED + plate, calls)}


def run_controls(
    store: PassStore, plate: str, plan: PlatePlan, readers: Sequence[Reader]
) -> dict[str, Any]:
    """Call the nuclei of a plate's controls, beside what they are compared with."""
    heads = store.read(PlateHeads, f"{HEADS}/{plate}")

    @lru_cache(maxsize=8)
    def read_treated(other: str) -> PlateCalls:
        found: PlateCalls = store.read(PlateCalls, TREATED + other)
        return found._replace(means=found.means[:0], variances=found.variances[:0])

    calls = call_controls(plan, readers, heads, read_treated)
    return {"nuclei": int(calls.counts.sum()), "bytes_out": store.write(CONTROLS + plate, calls)}


def run_end(
    store: PassStore, plan: FastPlan, plans: dict[str, PlatePlan], done: dict[str, list[str]],
    null: dict[str, Any], urls: dict[str, str], comparisons: Sequence[int] | None = None,
    in_full: Collection[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Score and test a screen's comparisons, or those of a block, from the calls of its plates."""
    fitted, calls = store.read(Fitted, HEADS), _read_calls(store, plans, done)
    if comparisons is not None:  # what was not used is the last unit's to say
        fitted = fitted._replace(left_out=fitted.left_out[:0])
    scored = finish_screen(
        plan, plans, fitted, calls, comparisons=comparisons, in_full=in_full, **null
    )
    return write_scores(scored, urls)


def run_rest(
    store: PassStore, plan: FastPlan, plans: dict[str, PlatePlan], done: dict[str, list[str]],
    urls: dict[str, str], comparisons: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """Score the comparisons that lie in several blocks."""
    fitted, calls = store.read(Fitted, HEADS), _read_calls(store, plans, done)
    found = finish_rest(plan, plans, fitted, calls, comparisons=comparisons)
    for name, table in zip(("-scores", "-calls", "-left-out"), found, strict=True):
        tables.write_table(urls[name], table)
    return {"nuclei": int(found[0]["n_test_treated"].sum()) if len(found[0]) else 0}


def write_scores(scored: FastScores, urls: dict[str, str]) -> dict[str, Any]:
    """Write the tables of a screen, or of a block of it."""
    for name, table in zip(urls, scored, strict=True):
        tables.write_table(urls[name], table)
    return {"nuclei": int(scored.scores["n_test_treated"].sum())}


def _read_calls(
    store: PassStore, plans: dict[str, PlatePlan], done: dict[str, list[str]]
) -> Iterator[tuple[str, PlateCalls]]:
    """Read the calls of plates, one after another."""
    finished = {word: set(plates) for word, plates in done.items()}
    for plate in plans:
        for word in (TREATED, CONTROLS):
            if plate in finished[word]:
                yield plate, store.read(PlateCalls, word + plate)
