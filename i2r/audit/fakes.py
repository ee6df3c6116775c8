"""Compounds made of control wells: what tests call of them, and what could be found."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from i2r.audit.findings import CERTAIN, LEVEL, PLAN_MORE, Finding, Verdict
from i2r.audit.screen import AuditScreen, judge_conditions, make_fakes
from i2r.audit.wells import Wells
from i2r.kernels.rivals import score_average_precision, score_energy_distance

Floats = npt.NDArray[np.float64]

# Times that other control wells become fakes.
FAKE_ROUNDS = 12
# Sizes of planted changes, in standard deviations of a control well.
SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0)
# Screens of fakes for each size.
_ROUNDS = 2
METHODS = {
    "i2r": "i2r, profiles of wells",
    "map": "mAP among controls (ranks at random)",
    "energy_wells": "energy distance, wells permuted",
    "energy_nuclei": "energy distance, nuclei permuted (E-test)",
}


def check_calibration(screen: AuditScreen, wells: Wells) -> tuple[Finding, pd.DataFrame]:
    """Ask whether compounds made of control wells are called, by this test and by others'.

    Returns
    -------
    Finding, DataFrame
        And for each method how many fakes there were, and the share below 0.05.
    """
    title = "Fake compounds made of controls"
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    n = len(screen.conditions)
    for number in range(FAKE_ROUNDS):
        labels = make_fakes(screen, seed=number)
        if labels is None:
            break
        tested = {"i2r": judge_conditions(screen, which=labels, seed=number)}
        tested |= judge_otherwise(screen, wells, labels, only_from=n, seed=number)
        for name, p_values in tested.items():
            found[name] += p_values[n:][np.isfinite(p_values[n:])].tolist()
    rows = [
        {"method": METHODS[name], "fakes": len(p), "p < 0.05": float(np.mean(np.array(p) < LEVEL))}
        for name, p in found.items() if p
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "fakes", "p < 0.05"])
    own = np.array(found["i2r"])
    if own.size < 8:
        words = (
            f"{own.size} fakes could be tested: there are too few control wells, so how often "
            "nothing is called can't be measured."
        )
        return Finding("calibration", title, "open", words, PLAN_MORE), table
    hits = int((own < LEVEL).sum())
    chance = float(stats.binom.sf(hits - 1, own.size, LEVEL))
    numbers = {"fakes": own.size, "called": hits, "p_value": chance, "by_method": rows}
    words = f"{hits} of {own.size} fakes have p < 0.05; {LEVEL * own.size:.1f} are expected."
    if chance < CERTAIN:
        advice = "Controls differ among themselves: look at stray wells, places and plates."
        return Finding("calibration", title, "leak", words, advice, numbers), table
    return Finding("calibration", title, "sound", words, numbers=numbers), table


def judge_otherwise(
    screen: AuditScreen,
    wells: Wells,
    labels: npt.NDArray[np.intp],
    *,
    only_from: int = 0,
    seed: int = 0,
) -> dict[str, Floats]:
    """Test conditions as others do: the p-values of mAP and of energy distances.

    Parameters
    ----------
    labels
        The condition of every well, -1 for controls.
    only_from
        Conditions below this number are left out, NaN.
    seed
        Of the permutations.
    """
    spread = screen.values[screen.is_control].std(axis=0)
    values = screen.values / np.maximum(spread, 1e-9)
    for plate in np.unique(screen.plates[labels < 0]):
        here = screen.plates == plate
        values[here] -= values[here & (labels < 0)].mean(axis=0)
    shown = np.where((labels >= 0) & (labels < only_from), -2, labels - only_from)
    shown = np.where(labels < 0, -1, shown)
    kept = shown >= -1
    tested = {
        "map": score_average_precision(values[kept], shown[kept], screen.plates[kept], seed=seed),
        "energy_wells": score_energy_distance(values[kept], shown[kept], seed=seed),
    }
    if not wells.is_per_well and len(wells.sample):
        usable = screen.scales.max(axis=0) > 0
        index = [wells.features.index(name) for name in np.array(screen.names)[usable]]
        plate = screen.plates[wells.sample_well]
        scale = screen.scales[:, usable]
        factor = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
        rows = (wells.sample[:, index] - screen.shifts[:, usable][plate]) * factor[plate]
        of_row = shown[wells.sample_well]
        chosen = of_row >= -1
        tested["energy_nuclei"] = score_energy_distance(
            np.clip(rows[chosen], -8, 8), of_row[chosen], seed=seed, n_draws=99, most=200
        )
    length = max(int(labels.max()) + 1, only_from)
    padded = {}
    for name, p_values in tested.items():
        padded[name] = np.full(length, np.nan)
        padded[name][only_from : only_from + len(p_values)] = p_values
    return padded


def measure_power(screen: AuditScreen) -> tuple[Finding, pd.DataFrame]:
    """Ask how large a change of one feature has to be to be found, by planting it in fakes.

    Returns
    -------
    Finding, DataFrame
        And by size, in standard deviations of a control well: the share of fakes with p < 0.05,
        and with a p-value that is small enough among all conditions (Bonferroni).
    """
    title = "What could be found"
    n = len(screen.conditions)
    spread = screen.values[screen.is_control].std(axis=0)
    rows = []
    for size in SIZES:
        p_values: list[float] = []
        for number in range(_ROUNDS):
            labels = make_fakes(screen, seed=100 + number)
            if labels is None:
                break
            random = np.random.default_rng(number)
            values = screen.values.copy()
            for fake in range(n, int(labels.max()) + 1):
                feature = random.integers(values.shape[1])
                values[labels == fake, feature] += size * spread[feature]
            found = judge_conditions(screen, values=values, which=labels, seed=number)[n:]
            p_values += np.nan_to_num(found, nan=1.0).tolist()
        if p_values:
            p = np.array(p_values)
            rows.append((size, float((p < LEVEL).mean()), float((p < LEVEL / n).mean())))
    table = pd.DataFrame(rows, columns=["size", "p < 0.05", "p small enough for all"])
    if table.empty:
        words = "There are too few control wells to plant an effect in some of them."
        return Finding("power", title, "open", words, PLAN_MORE), table
    smallest = [_first_reached(table["size"], table[name]) for name in table.columns[1:]]
    numbers = {"size_at_0.05": smallest[0], "size_for_all": smallest[1]}
    said = [f"{s:g}" if s is not None else f"more than {table['size'].max():g}" for s in smallest]
    words = (
        f"A change of one feature by {said[0]} standard deviations of a control well is found at "
        f"p < 0.05 in 80 of 100 cases. With {n} conditions tested at once p has to be smaller, and "
        f"the change {said[1]}."
    )
    verdict: Verdict = "sound" if smallest[0] is not None else "open"
    advice = "" if smallest[0] is not None else "Plan more control wells, or more replicates."
    return Finding("power", title, verdict, words, advice, numbers), table


def _first_reached(sizes: "pd.Series[float]", shares: "pd.Series[float]") -> float | None:
    reached = sizes[shares >= 0.8]
    return float(reached.iloc[0]) if len(reached) else None
