"""The design of a simulated screen: which gene is where, what it does, and how plates drift."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import InputError, join_problems
from i2r.simulation.effects import (
    ALONE,
    EFFECT_SIZE,
    KINDS,
    Effect,
    draw_directions,
    list_changes,
    vary_direction,
)  # fmt: skip
from i2r.simulation.fields import Surroundings
from i2r.types import PLATE_FORMATS, Well

CONTROL = "EMPTY"
# What no screen goes beyond: with more of these there are no nuclei left to see.
HIGHEST = {"drift": 10.0, "strength": 2.0, "variation": 10.0, "field_px": 16384}


class ScreenDesign(NamedTuple):
    """What to simulate.

    Attributes
    ----------
    genes
        Genes in all; each has one well on every plate.
    null_genes
        How many of them do nothing.
    plates
        Replicate plates.
    seed
        Decides everything that is random.
    controls
        Negative-control wells on every plate, scattered over it; 0 takes a quarter of the
        number of genes, at least six.
    fields
        Fields of every well.
    field_px
        Edge of a field in pixels of 0.65 um.
    layout
        ``shuffled`` places everything anew on every plate; ``sister`` repeats one layout, so that a
        gene can't be told from its position.
    drift
        Factor on everything that differs between plates, rows and positions; 0 for ideal plates.
    strength
        Factor on the planted effects; see `EFFECT_SIZE`.
    modules
        Modules of a protein network: genes of one change nuclei alike, each module in a direction
        of its own in the space of effects. 0 for no network; the effects go round in turn then.
    variation
        How far a gene's direction is from its module's; see `vary_direction`.
    linked
        False deals the genes with an effect to places in the network at random; images stay.
    """

    genes: int = 12
    null_genes: int = 6
    plates: int = 2
    seed: int = 0
    controls: int = 0
    fields: int = 2
    field_px: int = 256
    layout: Literal["shuffled", "sister"] = "shuffled"
    drift: float = 1.0
    strength: float = 1.0
    modules: int = 0
    variation: float = 0.5
    linked: bool = True

    @property
    def n_controls(self) -> int:
        """Control wells on every plate."""
        return self.controls or max(6, self.genes // 4)

    @property
    def plate_names(self) -> list[str]:
        """The plates' names."""
        return [f"P{number}" for number in range(1, self.plates + 1)]

    def check(self) -> None:
        """Refuse designs that can't be made.

        Raises
        ------
        InputError
            With all problems.
        """
        lowest = {
            "genes": 1, "null_genes": 0, "plates": 1, "seed": 0, "controls": 0, "fields": 1,
            "field_px": 64, "modules": 0,
        }  # fmt: skip
        problems = [
            f"simulate: {name} is {getattr(self, name)}, expected {least} or more."
            for name, least in lowest.items()
            if getattr(self, name) < least
        ]
        if self.null_genes > self.genes:
            problems.append(
                f"simulate: {self.null_genes} null genes of {self.genes} genes. "
                "Give at most as many null genes as genes."
            )
        if self.modules == 1 or self.modules > max(0, self.genes - self.null_genes) // 2:
            problems.append(
                f"simulate: {self.modules} modules for {self.genes - self.null_genes} genes with "
                "an effect, expected 2 or more with two genes each. Give 0 for no network."
            )
        if self.genes + self.n_controls > max(PLATE_FORMATS):
            problems.append(
                f"simulate: {self.genes} genes and {self.n_controls} controls, the largest plate "
                f"has {max(PLATE_FORMATS)} wells. Give fewer."
            )
        problems += [
            f"simulate: {name} is {getattr(self, name):g}, expected a number from 0 to {most:g}."
            for name, most in HIGHEST.items()
            if not 0 <= getattr(self, name) <= most
        ]
        if problems:
            raise InputError(join_problems(problems))


PRESETS: Mapping[str, ScreenDesign] = {
    "smoke": ScreenDesign(
        genes=44, null_genes=8, modules=6, controls=12, fields=3, field_px=320, strength=2.0
    ),
    "screen": ScreenDesign(
        genes=96, null_genes=48, modules=8, plates=4, field_px=400, strength=1.5
    ),
    "jump": ScreenDesign(
        genes=320, null_genes=160, modules=16, plates=5, controls=60, fields=9, field_px=1080,
        layout="sister",
    ),
}  # fmt: skip
"""Designs by name: a minute's work, a screen for statistics, one of the size of a JUMP batch."""


def plan_genes(design: ScreenDesign) -> pd.DataFrame:
    """Choose what every gene does, and which module of the network it belongs to.

    Returns
    -------
    DataFrame
        One row per gene: gene, is_null, effect (what changes most), size (its change), module (-1
        for none), and change_size, change_texture, ...: all changes, in the units of `EFFECT_SIZE`.
        Effects are three quarters to five quarters as strong as the design says.
    """
    random, shared, own, dealing = (
        np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=key))
        for key in ((1,), (1, 0), (1, 1), (1, 2))
    )
    is_null = random.permutation(design.genes) < design.null_genes
    strength = design.strength * random.uniform(0.75, 1.25, design.genes)
    turn = np.where(is_null, -1, (np.cumsum(~is_null) - 1) % (design.modules or len(ALONE)))
    directions = draw_directions(design.modules, shared) if design.modules else None
    rows = []
    for which, factor in zip(turn.tolist(), strength.tolist(), strict=True):
        effect: Effect = "none"
        changes = dict.fromkeys(KINDS, 0.0)
        if which >= 0 and directions is None:
            effect = ALONE[which]
            changes[effect] = EFFECT_SIZE[effect] * factor
        elif which >= 0 and directions is not None:
            direction = vary_direction(directions[which], design.variation, own)
            effect = KINDS[np.abs(direction).argmax()]
            changes = list_changes(direction, factor)
        named = {f"change_{kind}": change for kind, change in changes.items()}
        rows.append({"effect": effect, "size": changes.get(effect, 0.0), **named})
    module = turn if design.modules else np.full(design.genes, -1)
    if not design.linked:
        module[~is_null] = dealing.permutation(module[~is_null])
    genes = pd.DataFrame(rows).round(4)
    genes.insert(0, "gene", [f"GENE{number:03d}" for number in range(1, design.genes + 1)])
    genes.insert(1, "is_null", is_null)
    genes.insert(4, "module", module)
    return genes


def plan_layout(design: ScreenDesign) -> pd.DataFrame:
    """Place genes and controls on the plates.

    Returns
    -------
    DataFrame
        One row per well, sorted by plate and well: plate, well, perturbation, gene (empty for
        controls), role. Wells are taken row by row from the smallest plate that holds them.
    """
    genes = plan_genes(design)["gene"].tolist()
    contents = np.array([*genes, *[CONTROL] * design.n_controls])
    _, columns = next(
        shape for size, shape in PLATE_FORMATS.items() if size >= max(96, len(contents))
    )
    wells = [Well(i // columns + 1, i % columns + 1).name for i in range(len(contents))]
    frames = []
    for number, plate in enumerate(design.plate_names):
        key = 0 if design.layout == "sister" else number
        random = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(2, key)))
        placed = contents[random.permutation(len(contents))]
        frames.append(pd.DataFrame({"plate": plate, "well": wells, "perturbation": placed}))
    layout = pd.concat(frames, ignore_index=True)
    is_control = layout["perturbation"] == CONTROL
    return layout.assign(
        gene=layout["perturbation"].mask(is_control, ""),
        role=np.where(is_control, "negative_control", "treated"),
    )


def draw_surroundings(design: ScreenDesign, plate: int, well: Well) -> Surroundings:
    """Draw how a well differs from an ideal one: by its plate, row, position and by chance.

    A position differs alike on all plates (an edge dries, a corner is out of focus), which is what
    makes a layout that is repeated a confounder.

    Parameters
    ----------
    design
        The screen.
    plate
        The plate's number, from 0.
    well
        The position.

    Returns
    -------
    Surroundings
        With a drift of 1 the standard deviations of log gain, density and size over positions of a
        plate are about 0.10, 0.10 and 0.010, over plates 0.15, 0.10 and 0.010.
    """

    def normal(*key: int) -> np.ndarray:
        sequence = np.random.SeedSequence(design.seed, spawn_key=(3, *key))
        return np.random.default_rng(sequence).standard_normal(5)

    by_plate, by_position = normal(0, plate), normal(1, well.row, well.column)
    by_well, slope = normal(2, plate, well.row, well.column), normal(3, plate)
    # Rows and columns drift from one side of the plate to the other.
    row, column = (well.row - 4.5) / 8, (well.column - 6.5) / 12
    gain, background, size, density, blur = (
        np.array([0.15, 0.15, 0.010, 0.10, 0.3]) * by_plate
        + np.array([0.07, 0.05, 0.006, 0.06, 0.2]) * by_position
        + np.array([0.04, 0.03, 0.006, 0.06, 0.1]) * by_well
        + np.array([0.10, 0.05, 0.006, 0.05, 0.1]) * (slope * row + 0.5 * slope[::-1] * column)
    ) * design.drift
    return Surroundings(
        gain=float(np.exp(gain)),
        background=float(np.exp(background)),
        size=float(np.exp(size)),
        density=float(np.exp(density)),
        blur_px=float(abs(blur)),
        debris=float(0.7 * design.drift),
    )
