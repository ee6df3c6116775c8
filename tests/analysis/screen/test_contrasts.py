"""Draws of control wells copy how each condition's wells lie, and as many of them."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from i2r.analysis.screen.contrasts import (
    MIN_DRAWS,
    ScreenPlan,
    describe_conditions,
    list_copied,
    plan_contrasts,
)
from i2r.analysis.screen.held_out import list_compared
from i2r.kernels.nulls import find_structure

PLATES = ("P1", "P2", "P3")


def layout_of(contents: dict[str, str], *, sister: bool = False) -> pd.DataFrame:
    """Lay out genes on the plates named by digits, with 30 controls on every plate."""
    rows = [
        (plate, f"A{n:02d}" if sister else f"A{(n + 3 * place) % 24:02d}", name)
        for n, (name, plates) in enumerate(contents.items())
        for place, plate in enumerate(PLATES)
        if plate[1] in plates
    ]
    rows += [(plate, f"H{n:02d}", "ctrl") for plate in PLATES for n in range(30)]
    layout = pd.DataFrame(rows, columns=["plate", "well", "condition"])
    is_control = layout["condition"] == "ctrl"
    layout = layout.assign(
        role=np.where(is_control, "negative_control", "treated"), fields=[["1"]] * len(layout),
        perturbation=layout["condition"], gene="", dose=np.nan,
    )  # fmt: skip
    layout.index = pd.Index(layout["plate"] + "/" + layout["well"])
    return layout


def plan(contents: dict[str, str], *, sister: bool = False, n_draws: int = 20) -> ScreenPlan:
    """Plan a screen of them."""
    layout = layout_of(contents, sister=sister)
    seed = np.random.SeedSequence(3)
    found = plan_contrasts(layout, group="well", n_folds=3, n_draws=n_draws, seed=seed)
    described = describe_conditions(layout, found).set_index("condition")["shape"]
    assert described.to_dict() == {name: c.shape for name, c in found.contrasts.items()}
    return found


GENES = {f"all{n}": "123" for n in range(6)} | {"a12": "12", "b12": "12", "a23": "23"}


@pytest.mark.parametrize("sister", [False, True])
def test_every_shape_has_draws_and_within_it_every_structure_its_share(sister: bool) -> None:
    found = plan(GENES, sister=sister, n_draws=24)
    draws = [c for c in found.contrasts.values() if c.kind == "control_draw"]
    three, two = ("3", "2") if sister else ("1+1+1", "1+1")
    assert Counter(c.shape for c in draws) == {three: 24, two: 12}
    assert set(found.n_independent) == {three, two}
    on = Counter("".join(sorted({key[1] for key in c.treated_keys})) for c in draws)
    assert on == {"123": 24, "12": 8, "23": 4}, "in proportion to the conditions"
    for contrast in found.contrasts.values():
        plates, wells = zip(*(key.split("/") for key in contrast.treated_keys), strict=True)
        positions = wells if sister else contrast.treated_keys
        sizes = sorted(map(len, find_structure(plates, positions)), reverse=True)
        assert "+".join(map(str, sizes)) == contrast.shape


def test_rare_shapes_have_a_few_draws_and_without_draws_there_are_none() -> None:
    draws = Counter(
        c.shape for c in plan({**GENES, "more": "123", "c13": "13"}).contrasts.values()
        if c.kind == "control_draw"
    )  # fmt: skip
    assert draws == {"1+1+1": 20, "1+1": 11}
    rare = plan({f"all{n}": "123" for n in range(20)} | {"once": "13"})
    of_shape = Counter(c.shape for c in rare.contrasts.values() if c.kind == "control_draw")
    assert of_shape == {"1+1+1": 20, "1+1": MIN_DRAWS}
    none = plan(GENES, n_draws=0)
    assert not any(c.kind == "control_draw" for c in none.contrasts.values())
    assert set(none.n_independent.values()) == {0}


def test_a_draw_copies_the_wells_of_its_shape_on_its_plates() -> None:
    found = plan(GENES)
    draw = next(
        c for c in found.contrasts.values()
        if c.kind == "control_draw" and {key[:2] for key in c.treated_keys} == {"P2", "P3"}
    )  # fmt: skip
    copied = list_copied(found.contrasts.values(), draw)
    expected = {
        key for name in ("a12", "b12", "a23") for key in found.contrasts[name].treated_keys
        if key[:2] in ("P2", "P3")
    }  # fmt: skip
    assert set(copied) == expected
    assert list_copied(found.contrasts.values(), found.contrasts["a12"]) == []


def test_conditions_on_the_same_plates_share_their_controls() -> None:
    found = plan_contrasts(
        layout_of(GENES), group="well", n_folds=3, n_draws=0, seed=np.random.SeedSequence(3),
        shared_controls=True,
    ).contrasts  # fmt: skip
    assert len(found) == len(GENES)
    assert len({id(contrast.controls) for contrast in found.values()}) == 3, "12, 23 and 123"
    assert list_compared(found.values()) == sorted({k for c in found.values() for k in c.keys})
    for contrast in found.values():
        on = {key[:2] for key in contrast.treated_keys}
        assert set(contrast.controls.keys) == {f"{p}/H{n:02d}" for p in on for n in range(30)}
        assert contrast.keys[: len(on)] == contrast.treated.keys
        assert contrast.is_treated == (True,) * len(on) + (False,) * 30 * len(on)
