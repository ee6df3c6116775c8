"""The map from perturbation embeddings to regulatory genes, judged by leaving genes out."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from i2r.errors import InputError
from i2r.kernels import mapping, ranking
from i2r.kernels import selection as selecting
from i2r.kernels.kernel_regression import leave_one_out_interventions, ridge_weights
from i2r.kernels.links import Link, link_genes
from i2r.kernels.published_mapping import (
    choose_as_published,
    list_published_grid,
    rank_published,
    select_published,
)

Floats = npt.NDArray[np.float64]
# Whether to search the published grid, and whether to choose in it without the gene as well.
PublishedGrid = bool | Literal["nested"]
# By method: ranks of the genes, and how its options were chosen.
Ranked = Mapping[str, tuple[Floats, str]]
# Fewer genes than this can't be left out in pairs and leave something to learn from.
MIN_GENES = 6

# How options were chosen, which is how far a score can be believed.
NESTED = "chosen without the gene (nested)"
FIXED = "fixed beforehand"
REPORTED = "chosen on the reported predictions (as published)"


class Problem(NamedTuple):
    """Genes that have both embeddings, and all candidates.

    Attributes
    ----------
    genes : list of str
        Training genes, sorted.
    x : (n, d) or (n, n, d) float64
        Their perturbation embeddings; or at i those of all by an encoder that never saw gene i.
    names : list of str
        Names of the columns of x.
    candidates : list of str
        All genes with a regulatory embedding.
    link : Link
        The training genes' places and inner products.
    embeddings : (c, q) float64
        Candidates in the space that saw all labels, rows of unit length.
    mean_scores : (s, c) float64
        Scores of the candidates by their distance to the mean of all, in each space of the link.
    n_beyond : int
        How many candidates, the last ones, are not genes of the network.
    hidden : (n, c) bool or None
        At i, the candidates other than i whose label their embedding was made with. Labels may come
        from the perturbation embeddings, and then genes that look alike lie near each other
        whatever the network says: p-values leave them out. None without labels.
    dropped : tuple of (str, str)
        Genes with a perturbation embedding alone, and those whose regulatory one is zeros: gene,
        reason.
    """

    genes: list[str]
    x: Floats
    names: list[str]
    candidates: list[str]
    link: Link
    embeddings: Floats
    mean_scores: Floats
    n_beyond: int = 0
    hidden: npt.NDArray[np.bool_] | None = None
    dropped: tuple[tuple[str, str], ...] = ()


def list_candidates(regulatory: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Mark the rows of regulatory embeddings that say anything, shape (rows,).

    A gene without links has zeros where links alone are embedded. Zero is nearer to every
    prediction than most genes are, for regression predicts short vectors.
    """
    columns = [name for name in regulatory if str(name).startswith("e")]
    said: npt.NDArray[np.bool_] = regulatory[columns].to_numpy(dtype=float).any(axis=1)
    return said


def pose_problem(
    genes: Sequence[str],
    x: Floats,
    regulatory: pd.DataFrame,
    held_out: pd.DataFrame | None = None,
    *,
    names: Sequence[str] | None = None,
    further: "Extension | None" = None,
) -> Problem:
    """Match perturbation embeddings with regulatory embeddings by gene.

    Parameters
    ----------
    genes, x
        Symbols, shape (m,), and perturbation embeddings, (m, d) or (m, m, d), see `Problem`.
    regulatory
        gene, e0, ...: rows are divided by their length, as published. Rows of zeros are no
        candidates, see `list_candidates`.
    held_out
        The same for every held-out gene (column ``held_out``): a gene is then judged in the space
        that was made without its label. Genes that had no label have none, and need none.
    names
        Names of the columns of x; default: their numbers.
    further
        Candidates beyond the network.

    Raises
    ------
    InputError
        If too few genes are in both.
    """
    columns = [name for name in regulatory if str(name).startswith("e")]
    said = list_candidates(regulatory)
    silent = regulatory["gene"][~said].astype(str).str.upper().tolist()
    regulatory = regulatory[said]
    candidates = regulatory["gene"].astype(str).str.upper().tolist()
    place = {gene: row for row, gene in enumerate(candidates)}
    shared = [row for row, gene in enumerate(genes) if gene in place]
    if len(shared) < MIN_GENES:
        missing = [gene for gene in genes if gene not in place]
        raise InputError(
            f"map: {len(shared)} gene(s) have both a perturbation and a regulatory embedding "
            f"({len(genes)} and {len(candidates)} genes; without a regulatory one: "
            f"{', '.join(missing[:3]) or 'none'}), expected {MIN_GENES} or more. Check the "
            "symbols, or take a network that holds more of the genes."
        )
    shared_genes = [genes[row] for row in shared]
    base = mapping.scale_rows(regulatory[columns].to_numpy(dtype=float), "unit")
    spaces, labelled = base[None], set[str]()
    if held_out is not None and len(held_out):
        without = {
            str(gene): mapping.scale_rows(rows[columns].to_numpy(dtype=float)[said], "unit")
            for gene, rows in held_out.groupby("held_out")
        }
        spaces = np.stack([without.get(gene, base) for gene in shared_genes])
        labelled = set(without)
    truth = np.array([place[gene] for gene in shared_genes])
    if further is not None:
        spaces, base = further.extend(spaces, place), further.extend(base[None], place)[0]
        candidates += further.new
    link = link_genes(spaces, truth)
    mean_scores = 2 * np.einsum("scq,sq->sc", spaces, spaces.mean(axis=1)) - link.squared
    columns_of_x = [str(i) for i in range(x.shape[-1])] if names is None else list(names)
    own = x[shared] if x.ndim == 2 else x[np.ix_(shared, shared)]
    hidden = None
    if labelled:
        hidden = np.tile([gene in labelled for gene in candidates], (len(truth), 1))
        hidden[np.arange(len(truth)), truth] = False
    known = {*silent, *shared_genes}
    dropped = [(gene, "regulatory embedding of zeros") for gene in silent]
    dropped += [(gene, "no regulatory embedding") for gene in genes if gene not in known]
    return Problem(
        shared_genes, own, columns_of_x, candidates, link, base, mean_scores,
        0 if further is None else len(further.new), hidden, tuple(dropped),
    )  # fmt: skip


class Extension(NamedTuple):
    """Genes beyond the network that are to be candidates too, by their features.

    Attributes
    ----------
    known : list of str
        Genes of the network that have features.
    new : list of str
        Genes beyond it.
    weights : (len(new), len(known)) float64
        Embeddings of the new genes are these sums of those of the known ones.
    """

    known: list[str]
    new: list[str]
    weights: Floats

    def extend(self, spaces: Floats, place: Mapping[str, int]) -> Floats:
        """Append the new genes to every space, rows of unit length."""
        rows = [place[gene] for gene in self.known]
        made = mapping.scale_rows(self.weights @ spaces[:, rows], "unit")
        extended: Floats = np.concatenate([spaces, made], axis=1)
        return extended


def extend_candidates(genes: Sequence[str], features: Floats, network: Sequence[str]) -> Extension:
    """Place genes beyond the network among its genes by features that both have.

    Kernel regression from features (columns standardised over the network's genes) to embeddings:
    the tangent kernel, rows of unit length, penalty 1, centred.

    Parameters
    ----------
    genes, features
        Shapes (m,) and (m, f): genes of the network and others.
    network
        Genes of the network.

    Raises
    ------
    InputError
        If fewer than ten genes of the network have features, or no other gene has.
    """
    inside = set(network)
    known = [row for row, gene in enumerate(genes) if gene in inside]
    new = [row for row, gene in enumerate(genes) if gene not in inside]
    if len(known) < 10 or not new:
        raise InputError(
            f"candidates: {len(known)} genes of the network and {len(new)} others have features, "
            "expected 10 or more and 1 or more: embeddings of new genes are learned from those of "
            "the network. Put both into the table."
        )
    own = features[known]
    spread = own.std(axis=0)
    scaled = (features - own.mean(axis=0)) / np.where(spread > 0, spread, 1)
    configuration = mapping.Configuration("ntk", "unit", 1.0, centre=True)
    (inverse,) = mapping.invert_kernels([configuration], scaled[known])
    against = mapping.compute_kernel(configuration, scaled[new], scaled[known])
    weights = ridge_weights(against, inverse, centre=True)
    return Extension([genes[row] for row in known], [genes[row] for row in new], weights)


class LeftOut(NamedTuple):
    """Ranks of left-out genes under every method.

    Attributes
    ----------
    ranks : Ranked
        Of every method, genes in the problem's order.
    chosen : list of str
        The configuration that nested selection took for each gene.
    scores : (n, c) float64
        Candidates' scores under nested selection.
    grid : DataFrame
        configuration, auc_20, auc_50, log_score: on the reported predictions.
    weights : (n, n) float64
        Of the training genes in the prediction of every gene, under nested selection.
    """

    ranks: Ranked
    chosen: list[str]
    scores: Floats
    grid: pd.DataFrame
    weights: Floats


def leave_genes_out(
    problem: Problem,
    configurations: Sequence[mapping.Configuration],
    *,
    correct: bool,
    published_grid: PublishedGrid,
    neighbours: Sequence[int] = (0, 10),
    published_inputs: mapping.Scale = "raw",
    seed: int,
) -> LeftOut:
    """Rank every gene by maps that never saw it.

    Parameters
    ----------
    configurations
        What nested selection chooses from.
    correct
        Correct nested scores for hubs.
    published_grid
        Also search the published grid, options chosen as published; if 'nested', without the gene
        as well.
    neighbours
        Numbers of neighbours in the published grid.
    published_inputs
        Whether the published grid divides inputs by their length.
    seed
        Of the random projections in the published grid.
    """
    x, link = problem.x, problem.link
    n = len(x)
    inverses = mapping.invert_kernels(configurations, x)
    selection = selecting.select_nested(configurations, inverses, link)
    scores = selecting.score_selected(
        configurations, inverses, link, selection.chosen, correct=correct
    )
    (plain,) = mapping.invert_kernels([mapping.PUBLISHED], x)
    others = (1 - np.eye(n)) / (n - 1)
    if x.ndim == 2:
        interventions = leave_one_out_interventions(x)
    else:
        interventions = np.stack([leave_one_out_interventions(own)[i] for i, own in enumerate(x)])
    everything = np.broadcast_to(problem.mean_scores, (n, link.n_candidates))
    ranks = {
        "map": (ranking.rank_truth(scores, link.truth), NESTED),
        "plain tangent kernel": (mapping.rank_left_out(plain, link), FIXED),
        "synthetic intervention": (_rank(interventions, link), FIXED),
        "mean of training genes": (_rank(others, link), FIXED),
        "mean of all candidates": (ranking.rank_truth(everything, link.truth), FIXED),
    }
    grids = [_tabulate_grid([c.title for c in configurations], selection.ranks, link)]
    best = choose_as_published(selection.ranks)
    ranks["best of the grid"] = (selection.ranks[best], REPORTED)
    if published_grid:
        grid, x = list_published_grid(neighbours), mapping.scale_rows(x, published_inputs)
        if published_grid == "nested":
            searched = select_published(grid, x, link, seed=seed)
            found = searched.ranks
            ranks["published grid, nested"] = (searched.nested, NESTED)
        else:
            found = rank_published(grid, x, link, seed=seed)
        ranks["published grid"] = (found[choose_as_published(found)], REPORTED)
        grids.append(_tabulate_grid([c.title for c in grid], found, link, is_published=True))
    chosen = [configurations[place].title for place in selection.chosen]
    weights = np.empty((n, n))
    for place in np.unique(selection.chosen).tolist():
        own = selection.chosen == place
        centre = configurations[place].centre
        weights[own] = mapping.weigh_left_out(inverses[place], centre=centre)[own]
    return LeftOut(ranks, chosen, scores, pd.concat(grids, ignore_index=True), weights)


def _rank(weights: Floats, link: Link) -> Floats:
    return ranking.rank_truth(mapping.score_candidates(weights, link), link.truth)


def _tabulate_grid(
    titles: Sequence[str], ranks: Floats, link: Link, *, is_published: bool = False
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "configuration": list(titles),
            "published": is_published,
            "auc_20": ranking.published_auc(ranks, 20),
            "auc_50": ranking.published_auc(ranks, 50),
            "log_score": ranking.score_log_ranks(ranks, link.n_candidates),
        }
    )


def tabulate_genes(problem: Problem, left_out: LeftOut) -> pd.DataFrame:
    """Make one row per gene: its rank under every method, and what the map was for it."""
    ranks = {name.replace(" ", "_"): ranks for name, (ranks, _) in left_out.ranks.items()}
    table = pd.DataFrame({"gene": problem.genes, "rank": ranks.pop("map")})
    table["candidates"] = len(problem.candidates)
    table["nearest"] = [problem.candidates[i] for i in left_out.scores.argmax(axis=1)]
    table["configuration"] = left_out.chosen
    if problem.hidden is not None:
        seen = np.where(problem.hidden, -np.inf, left_out.scores)
        table["rank_unlabelled"] = ranking.rank_truth(seen, problem.link.truth)
        table["candidates_unlabelled"] = (~problem.hidden).sum(axis=1)
    return table.assign(**{f"rank_{name}": values for name, values in ranks.items()}).sort_values(
        ["rank", "gene"], ignore_index=True
    )


def tabulate_nearest(problem: Problem, scores: Floats, count: int = 50) -> pd.DataFrame:
    """List the nearest candidates of every gene: gene, place, candidate, score, is_true."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    n, k = order.shape
    candidates = np.array(problem.candidates)[order]
    return pd.DataFrame(
        {
            "gene": np.repeat(problem.genes, k),
            "place": np.tile(np.arange(1, k + 1), n),
            "candidate": candidates.ravel(),
            "score": np.take_along_axis(scores, order, axis=1).ravel(),
            "is_true": (order == problem.link.truth[:, None]).ravel(),
        }
    )


def tabulate_hubs(problem: Problem, scores: Floats) -> tuple[pd.DataFrame, ranking.Hubness]:
    """Count in how many genes' ten nearest each candidate is: candidate, occurrences."""
    hubs = ranking.diagnose_hubs(scores)
    table = pd.DataFrame({"candidate": problem.candidates, "occurrences": hubs.occurrences})
    order = ["occurrences", "candidate"]
    return table.sort_values(order, ascending=[False, True], ignore_index=True), hubs
