"""What a pipeline found of a simulated screen, beside what was planted."""

import io
from typing import NamedTuple

import numpy as np
import pandas as pd

from i2r.store import files
from i2r.store.experiment import Experiment


class Recovery(NamedTuple):
    """Planted truth found.

    Attributes
    ----------
    planted, planted_called, nulls, nulls_called
        Genes with an effect and without, and how many of them the screen calls impactful.
    left_out, candidates
        Genes that the map was judged by, each left out once, and the genes it chose among.
    own_module, own_module_chance
        Share of left-out genes whose nearest candidate is of their module, and what it is for
        candidates drawn at random. Genes of no module have none.
    top_decile
        Share of left-out genes among the best tenth of the candidates.
    p_map
        Of the ranks, against shuffled links.
    answered, asked, in_set
        Queries of planted genes that were answered, all of them, and the share of the answered
        ones whose set holds the gene (NaN without any).
    """

    planted: int
    planted_called: int
    nulls: int
    nulls_called: int
    left_out: int
    candidates: int
    own_module: float
    own_module_chance: float
    top_decile: float
    p_map: float
    answered: int
    asked: int
    in_set: float


def measure_recovery(
    experiment: Experiment, genes_url: str, modules_url: str, *, screen: str = "screen"
) -> Recovery:
    """Compare the tables of an experiment with the truth of the simulated screen it was made from.

    Parameters
    ----------
    experiment
        With a screen, a map and predictions.
    genes_url, modules_url
        The tables of the folder ``truth`` that `i2r.simulation.write_screen` made.
    screen
        Name of the screen whose calls are compared.
    """
    genes, modules = (
        pd.read_csv(io.BytesIO(files.read_bytes(url))) for url in (genes_url, modules_url)
    )
    module = modules.set_index("gene")["module"]
    ranking = experiment.table(screen)
    called = genes["gene"].isin(ranking.loc[ranking["impactful"].fillna(False), "gene"])
    score = experiment.table("map-scores").iloc[0]
    nearest = experiment.table("map-nearest").query("place == 1")
    own, other = (module[nearest[c]].to_numpy() for c in ("gene", "candidate"))
    among = module[experiment.table("genes")["gene"]].to_numpy()
    queries = experiment.table("predict-queries")
    queries = queries[queries["gene"].isin(genes.loc[~genes["is_null"], "gene"])]
    answered = queries[queries["answer"] == "ranked"]
    return Recovery(
        planted=int((~genes["is_null"]).sum()),
        planted_called=int((called & ~genes["is_null"]).sum()),
        nulls=int(genes["is_null"].sum()),
        nulls_called=int((called & genes["is_null"]).sum()),
        left_out=int(score["genes"]),
        candidates=int(score["candidates"]),
        own_module=float(((own == other) & (own >= 0)).mean()),
        own_module_chance=float(np.mean([(m == among).mean() * (m >= 0) for m in own])),
        top_decile=float(score["top_decile"]),
        p_map=float(score["p_permutation"]),
        answered=len(answered),
        asked=len(queries),
        in_set=float(answered["in_set"].astype(float).mean()),
    )


def describe_recovery(found: Recovery) -> list[str]:
    """Say what was found in a few lines."""
    answers = f"{found.answered} of {found.asked} planted genes asked about got an answer"
    if found.answered:
        answers += f", and {found.in_set:.0%} of the answers' sets hold the gene"
    return [
        f"screen: {found.planted_called} of {found.planted} planted genes called, "
        f"{found.nulls_called} of {found.nulls} null genes",
        f"map: of {found.left_out} genes left out, {found.own_module:.0%} lie nearest to a gene of "
        f"their own module (by chance {found.own_module_chance:.0%}), {found.top_decile:.0%} are "
        f"among the best tenth of {found.candidates} candidates; against shuffled links "
        f"p = {found.p_map:.3g}",
        f"predict: {answers}",
    ]


def describe_answer(experiment: Experiment) -> str:
    """Say what was answered about the images of one gene that the map was not shown.

    It is the gene with the surest answer; or the surest of those that got none.
    """
    queries = experiment.table("predict-queries")
    queries = queries[queries["left_out"].astype(bool)]
    if not len(queries):
        return "no gene with images is in the network, so none was asked about"
    answered = queries[queries["answer"] == "ranked"]
    one = (answered if len(answered) else queries).sort_values(["p_query", "query"]).iloc[0]
    start = f"images of {one['gene']}, which the map was not shown: "
    if not len(answered):
        return f"{start}no answer, {one['reason']}"
    ranked = experiment.table("predict")
    confidence = ranked[ranked["query"] == one["query"]].set_index("place")["confidence"]
    first, tenth = confidence[1], confidence[min(10, confidence.index.max())]
    inside = "is in that set" if one["in_set"] else "is not in that set"
    return (
        f"{start}{one['best']} is nearest (the gene is first with a probability of {first:.0%}, "
        f"among the first ten with {tenth:.0%}); {one['set_size']} of {one['n_candidates']} genes "
        f"make the set that should hold it; {one['gene']} {inside}, at place {one['rank_true']:.0f}"
    )
