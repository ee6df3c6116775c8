"""A pruned interactome ready for the solver, and the tables that keep it between units."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.store.vocabulary import Vocabulary, list_vocabulary

# Tables that a sweep leaves for the network: of every beta; what `Pruned.to_tables` gives.
PREPARED = ("-sweep", "-members", "-pruned", "-pruned-edges", "-pruning", "-confidence", "-hubs",
            "-dropped", "-expression", "-symbols", "-vocabulary")  # fmt: skip


class Pruned(NamedTuple):
    """A network ready for the solver.

    Attributes
    ----------
    genes
        Symbols.
    edges : (m, 2) int64
    costs : (m,) float64
    prizes : (n,) float64
        0 to 1; targets have 1.
    terminal : (n,) bool
        The targets.
    change : (n,) float64
        Log fold change of the line; NaN where there is none.
    steps, curve, hubs, dropped
        Tables: what each step of pruning left; edges, genes and targets by confidence cut, and by
        degree quantile; symbols that were left out, with the reason.
    expression
        Of every gene of the panel: gene, log_fold_change of the line, t, p, fdr, prize before
        beta. No rows without a panel.
    translated
        Names that were translated, or stayed ambiguous: table, name, symbol, how.
    symbols
        The vocabulary that all were translated by; None without one.
    notes
        What to tell the user of how tables were read.
    """

    genes: list[str]
    edges: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    prizes: npt.NDArray[np.float64]
    terminal: npt.NDArray[np.bool_]
    change: npt.NDArray[np.float64]
    steps: pd.DataFrame
    curve: pd.DataFrame
    hubs: pd.DataFrame
    dropped: pd.DataFrame
    expression: pd.DataFrame
    translated: pd.DataFrame
    symbols: Vocabulary | None
    notes: tuple[str, ...]

    def to_tables(self) -> dict[str, pd.DataFrame]:
        """Give it as tables, by the ends of their names; `from_tables` takes them back."""
        genes = {"gene": self.genes, "prize": self.prizes, "terminal": self.terminal,
                 "change": self.change}  # fmt: skip
        edges = {"first": self.edges[:, 0], "second": self.edges[:, 1], "cost": self.costs}
        return {
            "-pruned": pd.DataFrame(genes), "-pruned-edges": pd.DataFrame(edges),
            "-pruning": self.steps, "-confidence": self.curve, "-hubs": self.hubs,
            "-dropped": self.dropped, "-expression": self.expression,
            "-symbols": self.translated,
            "-vocabulary": list_vocabulary(self.symbols or Vocabulary({})),
        }  # fmt: skip

    @classmethod
    def from_tables(cls, given: Mapping[str, pd.DataFrame]) -> "Pruned":
        """Take back what `to_tables` gave, without the vocabulary and the notes."""
        genes, edges = given["-pruned"], given["-pruned-edges"]
        return cls(
            [str(name) for name in genes["gene"]],
            edges[["first", "second"]].to_numpy(np.int64),
            edges["cost"].to_numpy(np.float64),
            genes["prize"].to_numpy(np.float64),
            genes["terminal"].to_numpy(bool),
            genes["change"].to_numpy(np.float64),
            steps=given["-pruning"],
            curve=given["-confidence"],
            hubs=given["-hubs"],
            dropped=given["-dropped"],
            expression=given["-expression"],
            translated=given["-symbols"],
            symbols=None,
            notes=(),
        )
