"""Genes of several reagents: one p-value for each, and whether its reagents agree."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.kernels.statistics import adjust_pvalues, combine_pvalues

COLUMNS = ["gene", "n_reagents", "n_called", "p_value", "fdr", "best", "agreement"]


def rank_genes(ranking: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Combine the conditions of each gene that has several.

    A gene that counts as soon as one of its reagents does has as many chances as reagents. Its
    p-value is the Cauchy combination of theirs, which one strong reagent or several weak ones make
    small, and false discoveries are counted among genes.

    Parameters
    ----------
    ranking
        From `i2r.analysis.screen.ranking.rank_conditions`.
    features
        The features that moved most of every condition (`condition_tests`); may be empty.

    Returns
    -------
    DataFrame
        One row per gene with two or more conditions that have p-values, smallest p-value first:
        gene, n_reagents, n_called (of its reagents), p_value, fdr, best (the reagent with the
        smallest p-value), agreement (share of the features that moved most in two reagents which
        moved the same way, mean over pairs; NaN where no pair has a feature in common). Empty where
        no gene has several.
    """
    known = ranking[(ranking["kind"] == "treated") & ranking["p_value"].notna()]
    known = known[known["gene"].astype(str) != ""]
    rows = []
    for gene, own in known.sort_values("p_value", kind="stable").groupby("gene", sort=True):
        if len(own) < 2:
            continue
        rows.append(
            {
                "gene": str(gene), "n_reagents": len(own), "n_called": int(own["impactful"].sum()),
                "p_value": combine_pvalues(own["p_value"]), "best": str(own["condition"].iloc[0]),
                "agreement": measure_agreement(features, own["condition"].tolist()),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "fdr"])
    table["fdr"] = adjust_pvalues(table["p_value"].to_numpy(dtype=np.float64))
    return table.sort_values(["p_value", "gene"], kind="stable", ignore_index=True)[COLUMNS]


def measure_agreement(features: pd.DataFrame, conditions: list[str]) -> float:
    """Say how often features that moved most in two conditions moved the same way."""
    if not len(features):
        return float("nan")
    signs: list[dict[str, float]] = []
    for condition in conditions:
        own = features[features["condition"] == condition]
        signs.append(dict(zip(own["feature"], np.sign(own["change"]), strict=True)))
    found: list[npt.NDArray[np.bool_]] = []
    for number, one in enumerate(signs):
        for two in signs[number + 1 :]:
            common = sorted(one.keys() & two.keys())
            if common:
                found.append(np.array([one[name] == two[name] for name in common]))
    return float(np.mean([same.mean() for same in found])) if found else float("nan")
