"""Screens for the battery: many layouts, noises and confounds, and nothing of `i2r.simulation`.

Nuclei are drawn from eight skewed factors and a remainder; wells, plates, positions and conditions
add their effects. Nothing here knows how the screen tests them.
"""

from typing import NamedTuple

import numpy as np

ROWS, COLUMNS, FACTORS, MODULES = 16, 24, 8, 6


class Situation(NamedTuple):
    """What a screen is like; the defaults are the base situation.

    Effects are in standard deviations of a nucleus. ``layout``: ``shuffled`` (another one on every
    plate), ``sister`` (one for all), ``pair`` (two plates alike, the others of their own).
    ``placed``: where controls lie: ``scattered``, ``columns`` (1, 2, 23, 24), ``outer`` (1, 24),
    ``block``. ``gradient``: standard deviation over wells of a smooth field; ``own_fields``: each
    plate has a field of its own. ``crowding``: what a halving of the nuclei adds to features;
    ``blur``, ``cycle``: what a unit of focus or of DNA content adds, which vary between wells, and
    in ``blurred`` or ``arrested`` of the conditions without an effect are far from the others.
    ``doses``: conditions are compounds at so many doses, which rise along columns, side by side;
    of an active compound the effect rises with the dose.
    """

    layout: str = "shuffled"
    placed: str = "scattered"
    plates: int = 3
    replicates: int = 1
    adjacent: bool = False
    controls: int = 16
    conditions: int = 80
    active: float = 0.25
    effect: float = 0.8
    spread: str = "module"
    features: int = 40
    constant: int = 0
    rough: int = 0
    nuclei: int = 80
    unequal: float = 0.0
    well_sd: float = 0.15
    position_sd: float = 0.08
    gradient: float = 0.05
    own_fields: bool = False
    edge: float = 0.0
    heavy: bool = False
    artefacts: float = 0.0
    focus: float = 0.0
    toxic: float = 0.0
    bad_well: float = 0.0
    dead: str = ""
    batches: float = 0.0
    outliers: float = 0.0
    crowding: float = 0.0
    blur: float = 0.0
    blurred: float = 0.0
    cycle: float = 0.0
    arrested: float = 0.0
    doses: int = 0


class Screen(NamedTuple):
    """A simulated screen, well by well.

    Attributes
    ----------
    means, variances : (well, feature) float64
        Of each well's nuclei, standardised to the plate's control nuclei.
    counts, plates, rows, columns : (well,)
        Nuclei, plate from 0, and place.
    which : (well,)
        The condition, -1 for controls.
    is_active : (condition,) bool
        Whether it changes the nuclei's features.
    focus : (well,) float64
        As it is measured: with an error, and 0.3 lower where half of the nuclei are lost.
    explained : (condition,) str
        Why a condition without an effect of its own differs: ``count``, ``focus``, ``dna``.
    """

    means: np.ndarray
    variances: np.ndarray
    counts: np.ndarray
    plates: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    which: np.ndarray
    is_active: np.ndarray
    focus: np.ndarray
    explained: np.ndarray


def draw_screen(situation: Situation, seed: int) -> Screen:
    """Draw one screen."""
    s, random = situation, np.random.default_rng(seed)
    d = s.features
    loadings = random.standard_normal((FACTORS, d)) * np.sqrt(0.6 / FACTORS)
    effects = _draw_effects(s, random)
    is_active = np.zeros(s.conditions, bool)
    is_active[: round(s.active * s.conditions)] = True
    position = s.position_sd * random.standard_normal((ROWS * COLUMNS, d))
    common = _draw_field(s, random)
    plate_of, place_of, which = _lay_out(s, random)
    crowd = random.standard_normal(d) * (random.random(d) < 0.5)
    toxic = random.random(s.conditions) < s.toxic
    toxic &= ~is_active
    bad = (random.random(s.conditions) < s.bad_well) & ~is_active
    explained = np.where(toxic, "count", "").astype(object)
    # Drawn apart, so that other situations stay what they are.
    own = np.random.default_rng((seed, 1))
    shifts_of = {}
    for word, share in (("focus", s.blurred), ("dna", s.arrested)):
        chosen = (own.random(s.conditions) < share) & ~is_active & (explained == "")
        explained[chosen] = word
        sign = -1.0 if word == "focus" else np.sign(own.standard_normal(s.conditions))
        shifts_of[word] = np.where(chosen, sign * own.uniform(1, 3, s.conditions), 0.0)
    blurring = own.standard_normal(d) * (own.random(d) < 0.5)
    cycling = own.standard_normal(d) * (own.random(d) < 0.3)
    cycling[0] = 1.5
    focus = []
    typical = s.nuclei * np.exp(s.unequal * random.standard_normal(s.conditions))
    means, variances, counts = [], [], []
    shifts = 0.5 * random.standard_normal((s.plates, d))
    scales = np.exp(0.1 * random.standard_normal((s.plates, d)))
    batch = np.arange(s.plates) % 3
    if s.batches:
        shifts = shifts + s.batches * random.standard_normal((3, d))[batch]
        scales = scales * np.exp(0.4 * random.standard_normal((3, d)))[batch]
    fields = [_draw_field(s, random) if s.own_fields else common for _ in range(s.plates)]
    for plate in range(s.plates):
        here = np.flatnonzero(plate_of == plate)
        nuclei = []
        for well in here:
            k, place = which[well], place_of[well]
            expected = s.nuclei if k < 0 else typical[k]
            if k >= 0 and toxic[k]:
                expected = random.uniform(5, 50)
            n = max(3, int(random.poisson(expected)))
            if k >= 0 and bad[k] and (which[here[here < well]] != k).all() and plate == 0:
                n = 5
            if s.dead == "few" and plate == s.plates - 1:
                n = max(2, int(random.poisson(4)))
            values = _draw_nuclei(s, n, loadings, random)
            centre = s.well_sd * _noise(s, random, d) + position[place] + fields[plate][place]
            centre = centre + s.crowding * crowd * np.log2(n / s.nuclei)
            sharp, content = 0.3 * own.standard_normal(2)
            if k >= 0:
                sharp, content = sharp + shifts_of["focus"][k], content + shifts_of["dna"][k]
            centre = centre + s.blur * blurring * sharp + s.cycle * cycling * content
            focus.append(sharp + 0.2 * own.standard_normal() + 0.3 * np.log2(n / s.nuclei))
            if k >= 0 and is_active[k]:
                centre = centre + effects[k] * (
                    0.0 if s.dead == "noise" and plate == s.plates - 1 else 1.0
                )
            if random.random() < s.artefacts:
                centre = centre + random.standard_normal(d) * random.uniform(0.5, 2.5)
            if random.random() < s.focus:
                values = values * 0.6
                centre = centre + 0.7 * loadings[0]
                values = values[: int(random.integers(3, 12))]
            if s.dead == "noise" and plate == s.plates - 1:
                centre = centre + 1.0 * random.standard_normal(d)
            nuclei.append((values + centre) * scales[plate] + shifts[plate])
        control = np.concatenate([v for v, w in zip(nuclei, here, strict=True) if which[w] < 0])
        middle, scale = control.mean(axis=0), control.std(axis=0)
        scale[scale < 1e-9] = np.inf
        for values in nuclei:
            standard = np.clip((values - middle) / scale, -6, 6)
            means.append(standard.mean(axis=0))
            variances.append(standard.var(axis=0))
            counts.append(len(values))
    return Screen(
        np.array(means), np.array(variances), np.array(counts), plate_of,
        place_of // COLUMNS, place_of % COLUMNS, which, is_active, np.array(focus), explained,
    )  # fmt: skip


def _draw_effects(s: Situation, random: np.random.Generator) -> np.ndarray:
    """Give each active condition a direction: its module's, one feature, or all features."""
    d = s.features - s.constant
    effects = np.zeros((s.conditions, s.features))
    modules = np.zeros((MODULES, d))
    for module in modules:
        chosen = random.choice(d, size=min(d, max(3, min(8, d // 5))), replace=False)
        module[chosen] = random.standard_normal(chosen.size) + np.sign(
            random.standard_normal(chosen.size)
        )
        module[:] = module / np.linalg.norm(module)
    for k in range(round(s.active * s.conditions)):
        if s.spread == "module":
            direction = modules[k % MODULES]
        elif s.spread == "single":
            direction = np.eye(d)[random.integers(d)]
        else:
            direction = random.standard_normal(d)
            direction /= np.linalg.norm(direction)
        if s.doses:
            of_compound = modules[k // s.doses % MODULES]
            direction = of_compound * (k % s.doses + 1) / s.doses
        effects[k, :d] = s.effect * direction
    return effects


def _noise(s: Situation, random: np.random.Generator, d: int) -> np.ndarray:
    """Draw a well's own deviation; heavy-tailed ones are Student's t with 3 degrees of freedom."""
    values = random.standard_normal(d)
    return values / np.sqrt(random.chisquare(3) / 3) / np.sqrt(3) if s.heavy else values


def _draw_nuclei(
    s: Situation, n: int, loadings: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Draw nuclei of a well: skewed factors, and a remainder of each feature."""
    d = s.features
    values = (random.gamma(4, size=(n, FACTORS)) - 4) / 2 @ loadings
    values += np.sqrt(0.4) * random.standard_normal((n, d))
    if s.heavy:
        values = values * np.sqrt(1 / random.chisquare(3, size=(n, 1)))
    if s.rough:
        values[:, : s.rough] = np.round(values[:, : s.rough] / 2) * 2
    if s.outliers:
        wild = random.random((n, d)) < s.outliers
        values[wild] += 8 * random.standard_normal(int(wild.sum()))
    if s.constant:
        values[:, -s.constant :] = 0
    return values


def _draw_field(s: Situation, random: np.random.Generator) -> np.ndarray:
    """Draw a smooth field over the plate and an edge, shape (place, feature)."""
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    basis = np.stack([x, y, x * y, x**2, y**2, np.sin(2 * x + 1)]).reshape(6, -1)
    basis = (basis - basis.mean(axis=1, keepdims=True)) / basis.std(axis=1, keepdims=True)
    field = (random.standard_normal((s.features, 6)) / np.sqrt(6) @ basis).T * s.gradient
    rim = np.zeros((ROWS, COLUMNS), bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    strength = s.edge * np.sign(random.standard_normal(s.features))
    return field + rim.reshape(-1, 1) * strength


def _lay_out(
    s: Situation, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place controls and conditions on every plate; give plate, place and condition of wells."""
    columns = {"columns": [0, 1, 22, 23], "outer": [0, 23]}
    grid = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    plates, places, which = [], [], []
    last: tuple[np.ndarray, np.ndarray] | None = None
    for plate in range(s.plates):
        again = last is not None and (s.layout == "sister" or (s.layout == "pair" and plate == 1))
        if not again:
            n_treated = s.conditions * s.replicates
            if s.placed in columns:
                able = grid[:, columns[s.placed]].ravel()
                own = random.choice(able, s.controls, replace=False)
                rest = np.setdiff1d(grid.ravel(), grid[:, columns[s.placed]].ravel())
            elif s.placed == "block":
                corner = random.integers(0, 2) * (COLUMNS - 4)
                height = -(-s.controls // 4)
                own = grid[2 : 2 + height, corner : corner + 4].ravel()[: s.controls]
                rest = np.setdiff1d(grid.ravel(), own)
            else:
                own = random.choice(grid.ravel(), s.controls, replace=False)
                rest = np.setdiff1d(grid.ravel(), own)
            if s.adjacent:
                starts = rest[: (rest.size // s.replicates) * s.replicates].reshape(
                    -1, s.replicates
                )
                treated = random.permutation(starts)[: s.conditions].ravel()
            elif s.doses:
                # Scattered controls lie where no dose does.
                first = 3 + s.doses * np.arange((COLUMNS - 6) // s.doses)
                starts = np.add.outer(np.arange(ROWS) * COLUMNS, first).ravel()
                starts = random.permutation(starts)[: s.conditions // s.doses]
                treated = np.add.outer(starts, np.arange(s.doses)).ravel()
                if s.placed == "scattered":
                    rest = np.setdiff1d(grid.ravel(), treated)
                    own = random.choice(rest, s.controls, replace=False)
            else:
                treated = random.choice(rest, n_treated, replace=False)
            last = own, treated
        assert last is not None
        own, treated = last
        places += [*own, *treated]
        which += [*[-1] * own.size, *np.repeat(np.arange(s.conditions), s.replicates)]
        plates += [plate] * (own.size + treated.size)
    return np.array(plates), np.array(places), np.array(which)


BASE = Situation()
DOSES = BASE._replace(doses=8, active=0.2, effect=1.2)
SITUATIONS: dict[str, Situation] = {
    "base shuffled": BASE,
    "base shuffled null": BASE._replace(active=0),
    "base sister": BASE._replace(layout="sister"),
    "base sister null": BASE._replace(layout="sister", active=0),
    "base pair": BASE._replace(layout="pair"),
    "one feature moves": BASE._replace(spread="single", effect=0.4),
    "all features move": BASE._replace(spread="dense", effect=0.8),
    "t3 shuffled": BASE._replace(heavy=True),
    "t3 sister": BASE._replace(heavy=True, layout="sister"),
    "artefacts 3 % shuffled": BASE._replace(artefacts=0.03),
    "artefacts 3 % sister": BASE._replace(artefacts=0.03, layout="sister"),
    "artefacts 10 % shuffled": BASE._replace(artefacts=0.1),
    "focus 5 % shuffled": BASE._replace(focus=0.05),
    "focus 5 % sister": BASE._replace(focus=0.05, layout="sister"),
    "unequal nuclei": BASE._replace(unequal=0.7),
    "toxic 40 % shuffled": BASE._replace(toxic=0.4),
    "toxic 40 % sister": BASE._replace(toxic=0.4, layout="sister"),
    "one bad well 30 % shuffled": BASE._replace(bad_well=0.3),
    "one bad well 30 % sister": BASE._replace(bad_well=0.3, layout="sister"),
    "columns shuffled": BASE._replace(placed="columns"),
    "columns sister": BASE._replace(placed="columns", layout="sister"),
    "columns gradient .15 shuffled": BASE._replace(placed="columns", gradient=0.15),
    "columns gradient .15 sister": BASE._replace(placed="columns", gradient=0.15, layout="sister"),
    "columns gradient .25 shuffled null": BASE._replace(
        placed="columns", gradient=0.25, active=0
    ),
    "columns gradient .25 sister null": BASE._replace(
        placed="columns", gradient=0.25, active=0, layout="sister"
    ),
    "columns 32 gradient .15 own fields": BASE._replace(
        placed="columns", gradient=0.15, controls=32, own_fields=True
    ),
    "outer edge .15 sister": BASE._replace(placed="outer", edge=0.15, layout="sister"),
    "outer edge .3 shuffled null": BASE._replace(placed="outer", edge=0.3, active=0),
    "outer edge .3 sister null": BASE._replace(
        placed="outer", edge=0.3, active=0, layout="sister"
    ),
    "block shuffled": BASE._replace(placed="block"),
    "block sister": BASE._replace(placed="block", layout="sister"),
    "block gradient .25 shuffled null": BASE._replace(placed="block", gradient=0.25, active=0),
    "scattered edge .3 shuffled": BASE._replace(edge=0.3),
    "scattered edge .3 sister": BASE._replace(edge=0.3, layout="sister"),
    "scattered gradient .25 shuffled": BASE._replace(gradient=0.25),
    "scattered gradient .25 sister null": BASE._replace(
        gradient=0.25, layout="sister", active=0
    ),
    "2 plates shuffled": BASE._replace(plates=2),
    "2 plates sister": BASE._replace(plates=2, layout="sister"),
    "4 plates shuffled": BASE._replace(plates=4),
    "6 plates shuffled": BASE._replace(plates=6),
    "6 plates sister": BASE._replace(plates=6, layout="sister"),
    "1 plate x4 scattered": BASE._replace(plates=1, replicates=4),
    "1 plate x4 adjacent": BASE._replace(plates=1, replicates=4, adjacent=True),
    "1 plate x4 adjacent gradient .15 null": BASE._replace(
        plates=1, replicates=4, adjacent=True, gradient=0.15, active=0, controls=64, conditions=60
    ),
    "1 plate x2": BASE._replace(plates=1, replicates=2),
    "3 plates x2 scattered": BASE._replace(replicates=2),
    "3 plates x2 adjacent": BASE._replace(replicates=2, adjacent=True),
    "2 plates x2": BASE._replace(plates=2, replicates=2),
    "4 controls shuffled": BASE._replace(controls=4),
    "8 controls shuffled": BASE._replace(controls=8),
    "8 controls sister": BASE._replace(controls=8, layout="sister"),
    "32 controls shuffled": BASE._replace(controls=32),
    "32 controls sister": BASE._replace(controls=32, layout="sister"),
    "4 controls, 6 plates": BASE._replace(controls=4, plates=6),
    "batches shuffled": BASE._replace(batches=1.0, plates=6),
    "batches sister": BASE._replace(batches=1.0, layout="sister"),
    "dead plate, few nuclei": BASE._replace(dead="few"),
    "dead plate, noise": BASE._replace(dead="noise"),
    "15 features": BASE._replace(features=15),
    "100 features": BASE._replace(features=100),
    "100 features, 8 controls": BASE._replace(features=100, controls=8),
    "300 features": BASE._replace(features=300),
    "300 features, 8 controls, sister": BASE._replace(
        features=300, controls=8, layout="sister"
    ),
    "8 rough, 5 constant features": BASE._replace(rough=8, constant=5),
    "wild nuclei": BASE._replace(outliers=0.01),
    "20 conditions, 15 active": BASE._replace(conditions=20, active=0.75),
    "doses along columns shuffled": DOSES,
    "doses along columns sister": DOSES._replace(layout="sister"),
    "doses along columns, most active": DOSES._replace(active=0.8),
    "doses along columns, most active, sister": DOSES._replace(active=0.8, layout="sister"),
    "doses along columns gradient .15": DOSES._replace(gradient=0.15),
    "doses along columns gradient .15 sister": DOSES._replace(gradient=0.15, layout="sister"),
    "doses, controls in columns, gradient .15": DOSES._replace(gradient=0.15, placed="columns"),
    "doses, controls in columns, most active": DOSES._replace(active=0.8, placed="columns"),
    "places as wells, sister null": BASE._replace(
        layout="sister", position_sd=0.15, plates=4, controls=24, active=0
    ),
    "places as wells, sister null, 20 conditions": BASE._replace(
        layout="sister", position_sd=0.15, plates=4, controls=24, active=0, conditions=20
    ),
    "single wells, 32 controls": BASE._replace(plates=1, controls=32, effect=1.2),
}  # fmt: skip
