"""What a map is worth: genes left out, shuffled links, and the tables that say so."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.analysis.regulation import gene_mapping as judging
from i2r.analysis.regulation import map_pictures as pictures
from i2r.analysis.regulation import map_scores as scoring
from i2r.analysis.regulation import signatures
from i2r.analysis.regulation.feature_profiles import FeatureWells, average_features
from i2r.errors import I2RError
from i2r.kernels import mapping
from i2r.kernels import selection as selecting
from i2r.store import tables
from i2r.store.vocabulary import read_vocabulary, translate

LEAKED = "seen by the embeddings that a gene is ranked in (as published)"


class Inputs(NamedTuple):
    """Where the embeddings of both sides are.

    Attributes
    ----------
    regulatory, held_out
        Tables of regulatory embeddings.
    signatures
        The user's table of perturbation embeddings; empty for none.
    wells
        Wells with embeddings or features; None for the user's table.
    vocabulary
        Table of what genes are called, see `i2r.store.vocabulary`.
    signature_info
        The table of the signatures of a GCTX file; empty for none.
    """

    regulatory: str
    held_out: str
    signatures: str
    wells: signatures.TreatedWells | FeatureWells | None
    vocabulary: str
    signature_info: str


def read_problem(inputs: Inputs) -> judging.Problem:
    """Read both sides and match them by gene."""
    symbols = read_vocabulary(inputs.vocabulary)
    if inputs.wells is None:
        seen = signatures.read_seen(inputs.signatures, symbols, info=inputs.signature_info)
    elif isinstance(inputs.wells, FeatureWells):
        names = tuple(translate(name, symbols) or name for name in inputs.wells.names)
        seen = signatures.SeenVectors(average_features(inputs.wells._replace(names=names)))
    else:
        seen = signatures.average_genes(signatures.translate_wells(inputs.wells, symbols))
    return judging.pose_problem(
        seen.vectors.genes,
        seen.vectors.values if seen.without is None else seen.without,
        tables.read_table(inputs.regulatory),
        tables.read_table(inputs.held_out),
        names=seen.vectors.names,
    )


def write_left_out(
    problem: judging.Problem,
    *,
    configurations: Sequence[mapping.Configuration],
    correct: bool,
    published_grid: judging.PublishedGrid,
    neighbours: Sequence[int],
    published_inputs: mapping.Scale,
    seed: int,
    urls: Mapping[str, str],
    made_by: Mapping[str, Any],
) -> dict[str, Any]:
    """Leave every gene out and write what became of it."""
    left_out = judging.leave_genes_out(
        problem, configurations, correct=correct, published_grid=published_grid,
        neighbours=neighbours, published_inputs=published_inputs, seed=seed,
    )  # fmt: skip
    methods = pd.DataFrame(
        [(name, selection) for name, (_, selection) in left_out.ranks.items()],
        columns=["method", "selection"],
    )
    hubs, found = judging.tabulate_hubs(problem, left_out.scores)
    tables.write_table(urls[""], judging.tabulate_genes(problem, left_out))
    tables.write_table(
        urls["-methods"],
        methods.assign(hub_skewness=found.skewness, hub_top_share=found.top_share),
    )
    tables.write_table(urls["-grid"], left_out.grid)
    tables.write_table(urls["-nearest"], judging.tabulate_nearest(problem, left_out.scores))
    tables.write_table(urls["-hubs"], hubs)
    tables.write_table(urls["-places"], pictures.place_predictions(problem, left_out))
    tables.write_table(urls["-coclustering"], pictures.compare_clusters(problem, seed=seed))
    dropped = pd.DataFrame(problem.dropped, columns=["gene", "reason"], dtype=str)
    tables.write_table(urls["-dropped"], dropped)
    rows = problem.x.reshape(-1, len(problem.names))
    inputs = pd.DataFrame(rows, columns=problem.names)
    # With an encoder for every gene, the inputs by each of them under each other.
    inputs.insert(0, "gene", problem.genes * (len(rows) // len(problem.genes)))
    if problem.x.ndim == 3 and not made_by["encoders"]:
        # Of a table, encoders are called by the gene that they never saw.
        made_by = {**made_by, "encoders": {"": "", **{gene: gene for gene in problem.genes}}}
    # All that a prediction needs besides the regulatory embeddings.
    metadata = {"configurations": configurations, "correct": correct, **made_by}
    tables.write_table(urls["-inputs"], inputs, metadata=metadata)
    return {"genes": len(problem.genes)}


def write_null(
    problem: judging.Problem,
    *,
    configurations: Sequence[mapping.Configuration],
    correct: bool,
    draws: int,
    seed: np.random.SeedSequence,
    url: str,
) -> dict[str, Any]:
    """Write the ranks under shuffled links: draw, gene, rank."""
    inverses = mapping.invert_kernels(configurations, problem.x)
    observed = selecting.rank_selected(
        configurations, inverses, problem.link, correct=correct, hidden=problem.hidden
    )[-1]
    n_candidates = count_candidates(problem)
    drawn = selecting.shuffle_links(
        configurations, inverses, problem.link, seed=seed, draws=draws, correct=correct,
        hidden=problem.hidden,
        is_enough=lambda null: scoring.is_told(observed, null, n_candidates),
    )  # fmt: skip
    draw, gene = (index.ravel() for index in np.indices(drawn[0].shape))
    table = pd.DataFrame(
        {"draw": draw, "gene": np.array(problem.genes)[gene], "rank": drawn[0].ravel()}
    )
    if problem.hidden is not None:
        table["rank_unlabelled"] = drawn[1].ravel()
    tables.write_table(url, table)
    return {"draws": len(drawn[0])}


def count_candidates(problem: judging.Problem) -> int:
    """Count the candidates that p-values are of: all, or those that have no label."""
    if problem.hidden is None:
        return len(problem.candidates)
    return int((~problem.hidden[0]).sum())


def write_map(
    parts: Mapping[str, str],
    *,
    nulls: Sequence[str],
    k_max: int,
    seed: int,
    regulatory: str,
    urls: Mapping[str, str],
    complete: bool,
) -> dict[str, Any]:
    """Write the tables of the stage."""
    if not complete:
        raise I2RError("map: the genes left out are not done. See 'i2r errors'.")
    genes, methods = tables.read_table(parts[""]), tables.read_table(parts["-methods"])
    drawn = [tables.read_table(url) for url in nulls]
    for before, block in pairwise(drawn):
        block["draw"] += int(before["draw"].max()) + 1
    null = tables.concatenate(drawn) if drawn else pd.DataFrame({"draw": [], "rank": []})
    shuffled = null["rank"].to_numpy(dtype=float).reshape(-1, len(genes))
    columns = ["rank", *(f"rank_{m.replace(' ', '_')}" for m in methods["method"][1:])]
    ranks = {
        str(method): (genes[column].to_numpy(dtype=float), str(selection))
        for column, method, selection in zip(
            columns, methods["method"], methods["selection"], strict=True
        )
    }
    n_candidates = int(genes["candidates"].iloc[0])
    unlabelled = None
    if "rank_unlabelled" in genes and drawn:
        unlabelled = scoring.Unlabelled(
            genes["rank_unlabelled"].to_numpy(dtype=float),
            null["rank_unlabelled"].to_numpy(dtype=float).reshape(-1, len(genes)),
            int(genes["candidates_unlabelled"].iloc[0]),
        )
    scores = scoring.tabulate_scores(
        ranks, shuffled, n_candidates, seed=seed, unlabelled=unlabelled
    )
    # Embeddings that saw a gene's label know where it belongs, whatever its images say.
    seen = set(tables.read_table_with_metadata(regulatory)[1].get("labels_seen", ()))
    leaked = sorted(seen & set(genes["gene"]))
    scores["labels_of_genes"] = LEAKED if leaked else "none, or masked where a gene is left out"
    if leaked:
        scores[[name for name in scores if str(name).startswith("p_")]] = np.nan
    scores["hub_skewness"] = methods["hub_skewness"].where(methods["method"] == "map")
    tables.write_table(urls[""], genes)
    tables.write_table(
        urls["-curves"], scoring.tabulate_curves(ranks, shuffled, n_candidates, k_max)
    )
    tables.write_table(urls["-scores"], scores)
    tables.write_table(urls["-null"], null)
    for name in ("-grid", "-nearest", "-hubs", "-places", "-dropped"):
        tables.write_table(urls[name], tables.read_table(parts[name]))
    together = tables.read_table(parts["-coclustering"])
    if leaked:
        together["p_value"] = np.nan
    tables.write_table(urls["-coclustering"], together)
    inputs, metadata = tables.read_table_with_metadata(parts["-inputs"])
    tables.write_table(urls["-inputs"], inputs, metadata=metadata)
    return {
        "genes": len(genes),
        "p": float(scores["p_permutation"].iloc[0]),
        "notes": [
            *note_losses(tables.read_table(parts["-dropped"])),
            *([f"no p-values: {LEAKED} ({len(leaked)} genes)"] if leaked else []),
        ],
    }


def note_losses(dropped: pd.DataFrame) -> list[str]:
    """Say in a line for each reason which genes (gene, reason) have no part in the map."""
    return [
        f"genes left out, {reason} ({len(rows)}): {', '.join(rows['gene'].head(5))}"
        + (f" and {len(rows) - 5} others" if len(rows) > 5 else "")
        for reason, rows in dropped.groupby("reason", sort=False)
    ]
