"""The network that a simulated screen's genes belong to, and its expression, as tables."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.simulation.designs import ScreenDesign, plan_genes
from i2r.simulation.regulation import RegulationDesign, draw_expression, draw_links

LINE = "U2OS"
# Genes of the network for each that is screened and has an effect, and fewest of a module.
_GENES_EACH, _MODULE_GENES = 3, 15
# Links of a gene without a module, to any others.
_LOOSE_LINKS = 3
_LINES, _CELLS = 12, 80
# What the screened line does more than others, in standard deviations of a module's activity.
_ACTIVITY = 2.0
# Of links, as in interactomes whose cost is one minus a confidence.
_COST_RANGE = (0.05, 0.85)


class NetworkTables(NamedTuple):
    """What the stages of the regulation side read, and the truth.

    Attributes
    ----------
    interactions
        protein1, protein2, cost.
    lines
        symbol, then the expression in each of some cell lines.
    cells
        gene, then the expression in each of some cells of the screened line.
    genes
        The truth: gene, module (-1 for none), is_screened.
    """

    interactions: pd.DataFrame
    lines: pd.DataFrame
    cells: pd.DataFrame
    genes: pd.DataFrame


def plan_network(design: ScreenDesign) -> NetworkTables:
    """Draw the network around the genes of a screen that has modules.

    Every module has genes that were not screened; null genes are linked to any. The screened line
    expresses modules more than other lines do, and cells express the genes of a module together.
    """
    screened = plan_genes(design)
    active = screened[~screened["is_null"]]
    size = max(_MODULE_GENES, -(-_GENES_EACH * len(active) // design.modules))
    own = [size - int((active["module"] == m).sum()) for m in range(design.modules)]
    module = np.concatenate(
        [screened["module"].to_numpy(), np.repeat(np.arange(design.modules), own)]
    )
    names = [f"GENE{number:03d}" for number in range(1, len(module) + 1)]
    linking, costing, expressing = (
        np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(5, i)))
        for i in range(3)
    )
    inside = np.flatnonzero(module >= 0)
    numbers = RegulationDesign(genes=len(inside), modules=design.modules)
    edges = [inside[draw_links(numbers, module[inside], linking)]]
    for loose in np.flatnonzero(module < 0):
        ends = linking.choice(inside, _LOOSE_LINKS, replace=False)
        edges.append(np.stack([np.full_like(ends, loose), ends], axis=1))
    links = np.concatenate(edges)
    interactions = pd.DataFrame(
        {
            "protein1": [names[a] for a in links[:, 0]],
            "protein2": [names[b] for b in links[:, 1]],
            "cost": np.round(costing.uniform(*_COST_RANGE, len(links)), 6),
        }
    )
    # One more row for genes of no module, which have no activity.
    activity = np.zeros((design.modules + 1, _LINES + _CELLS))
    activity[:-1] = expressing.standard_normal((design.modules, _LINES + _CELLS))
    activity[:-1, 0] += _ACTIVITY
    values = np.round(draw_expression(activity[module], expressing), 5)
    lines = pd.DataFrame(
        values[:, :_LINES], columns=[LINE, *(f"LINE{i}" for i in range(1, _LINES))]
    )
    lines.insert(0, "symbol", names)
    cells = pd.DataFrame(values[:, _LINES:], columns=[f"cell{i}" for i in range(1, _CELLS + 1)])
    cells.insert(0, "gene", names)
    truth = pd.DataFrame({"gene": names, "module": module})
    return NetworkTables(
        interactions, lines, cells, truth.assign(is_screened=np.arange(len(names)) < design.genes)
    )
