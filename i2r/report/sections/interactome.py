"""The inferred network: how it was pruned and chosen, a picture, and its genes."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from i2r.report.html import render, table
from i2r.report.labels import choose_labels
from i2r.report.lines import Line, draw_lines
from i2r.report.source import ReportSource, StageRecord
from i2r.store.tables import read_table_with_metadata

TITLE = "Interactome"
ORDER = 35
# The margin has room for half a name.
WIDTH, HEIGHT, MARGIN = 1000, 700, 40
# A picture of more genes shows nothing but lines, and makes the page slow.
MOST_DRAWN = 300
GENES = ("gene", "terminal", "degree", "prize", "change", "frequency", "frequency_random")
HEADINGS = {
    "terminal": "target",
    "edges": "interactions",
    "frequency_random": "frequency, random",
    "lower_bound": "lower bound",
}


def draw(source: ReportSource) -> str | None:
    """Show every interactome that is complete."""
    items = [
        item
        for stage in source.stages_of("interactome")
        if (item := _describe(source, stage)) is not None
    ]
    return render("interactome.html", items=items) if items else None


def _describe(source: ReportSource, stage: StageRecord) -> dict[str, Any] | None:
    """Gather what is shown of one network."""
    genes = source.reduced_table(stage.title, stage.title)
    edges = source.reduced_table(stage.title, f"{stage.title}-edges")
    if genes is None or edges is None:
        return None
    shown = genes[[name for name in GENES if name in genes]]
    shown = shown.assign(terminal=["yes" if yes else "" for yes in genes["terminal"]])
    shown = shown.sort_values("degree", ascending=False).rename(columns=HEADINGS)
    parts = [table(shown, "Genes of the network: degree, "
                   "prize, log fold change of the line, share of runs with noisy costs and with "
                   "random targets in which the gene is in the tree.")]  # fmt: skip
    solved: dict[str, Any] = {}
    captions: dict[str, str] = {}
    if stage.options.get("method", "steiner") == "steiner":
        url = source.experiment.table_url(f"{stage.title}-sweep")
        sweep, solved = read_table_with_metadata(url)
        captions["pruning"] = "What every step of pruning left."
        marked = sweep.assign(chosen=["chosen" if c else "" for c in sweep["chosen"]])
        parts.append(table(marked.rename(columns=HEADINGS),
                           "The sweep over beta, the weight of the prizes: genes and targets of "
                           "each tree, all interactions among them, and its leaves, genes with "
                           "one; value is the cost of the tree and the prizes left out, and no "
                           "tree has less than the lower bound."))  # fmt: skip
        parts += _draw_curves(source, stage)
        parts += _draw_overlaps(source, stage)
    captions["dropped"] = "Symbols that were left out (the first 200), and why."
    for name, caption in captions.items():
        found = source.reduced_table(stage.title, f"{stage.title}-{name}")
        if found is not None and len(found):
            parts.append(table(found.head(200).rename(columns=HEADINGS), caption))
    drawn = choose_drawn(genes)
    inside = edges["gene1"].isin(drawn["gene"]) & edges["gene2"].isin(drawn["gene"])
    return {
        "title": stage.title, "n_genes": len(genes), "n_edges": len(edges), "solved": solved,
        "n_targets": int(genes["terminal"].sum()), "parts": parts, "width": WIDTH,
        "height": HEIGHT, "picture": _lay_out(drawn, edges[inside]),
        "n_hidden": len(genes) - len(drawn),
    }  # fmt: skip


def choose_drawn(genes: pd.DataFrame) -> pd.DataFrame:
    """Choose the genes of a picture: targets, then frequent ones, then those of high degree."""
    order = ["terminal", *(["frequency"] if "frequency" in genes else []), "degree"]
    ranked = genes.sort_values(order, ascending=False, kind="stable")
    return genes.loc[ranked.index[:MOST_DRAWN].sort_values()]


def _draw_curves(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw what cuts of confidence and of hubs leave, beside what was taken."""
    drawn = []
    for name, column, title, option, caption in (
        ("confidence", "cut", "cost below which interactions count", "max_cost",
         "What a cut of the interactions' cost leaves, as parts of what there is without a cut"),
        ("hubs", "quantile", "degree quantile from which genes are left out", "hub_quantile",
         "What is left of the largest part without hubs, as parts of what no cut leaves"),
    ):  # fmt: skip
        found = source.reduced_table(stage.title, f"{stage.title}-{name}")
        if found is None or not len(found):
            continue
        lines = [
            Line(
                HEADINGS.get(kind, kind),
                found[column].tolist(),
                (found[kind] / max(whole, 1)).tolist(),
            )
            for kind in ("genes", "edges", "targets")
            if (whole := float(found[kind].iloc[-1]))
        ]
        taken = stage.options.get(option)
        chosen = f"; {taken:g} was taken." if taken is not None else "."
        if lines:
            drawn.append(draw_lines(
                lines, x_title=title, y_title="part that is left", caption=caption + chosen
            ))  # fmt: skip
    return drawn


def _draw_overlaps(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw, for every beta, how many genes the tree shares with the trees of other stages.

    Stages with other costs or tables show how much of a network is owed to that choice.
    """
    own = _list_members(source, stage)
    lines = []
    for other in source.stages_of("interactome"):
        theirs = _list_members(source, other) if other.title != stage.title else {}
        shared = sorted(own.keys() & theirs.keys())
        if shared:
            overlaps = [
                len(own[b] & theirs[b]) / max(len(own[b] | theirs[b]), 1) for b in shared
            ]  # fmt: skip
            cost = other.options.get("edge_cost", "mi_score")
            lines.append(Line(f"{other.title} ({cost})", shared, overlaps))
    if not lines:
        return []
    return [
        draw_lines(
            lines, x_title="beta, weight of the prizes", y_title="genes in common",
            caption="Overlap of the trees of this network with those of others at the same "
            "beta: genes in both, of all in either.",
        )
    ]  # fmt: skip


def _list_members(source: ReportSource, stage: StageRecord) -> dict[float, set[str]]:
    """List the genes of the tree for every beta."""
    found = source.reduced_table(stage.title, f"{stage.title}-members")
    if found is None:
        return {}
    return {float(beta): set(genes) for beta, genes in found.groupby("beta")["gene"]}


def _lay_out(genes: pd.DataFrame, edges: pd.DataFrame) -> dict[str, Any]:
    """Place genes by springs (Fruchterman and Reingold 1991, 10.1002/spe.4380211102)."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(genes["gene"])
    if len(edges):
        graph.add_edges_from(zip(edges["gene1"], edges["gene2"], strict=True))
    found = nx.spring_layout(graph, seed=1, iterations=80)
    places = np.array([found[name] for name in genes["gene"]])
    low, high = places.min(axis=0), places.max(axis=0)
    spread = np.where(high > low, high - low, 1)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    at = np.round(MARGIN + (places - low) / spread * room, 1)
    where = dict(zip(genes["gene"], at.tolist(), strict=True))
    targets = genes.loc[genes["terminal"].astype(bool)].sort_values("degree", ascending=False)
    named = choose_labels(where, list(targets["gene"]), width=WIDTH)
    in_tree = edges["in_tree"] if "in_tree" in edges else [False] * len(edges)
    return {
        "edges": [
            (*where[u], *where[v], bool(t))
            for u, v, t in zip(edges["gene1"], edges["gene2"], in_tree, strict=True)
        ] if len(edges) else [],
        "genes": [
            {"name": name, "x": where[name][0], "y": where[name][1], "target": bool(terminal),
             "anchor": named.get(name, ""),
             "r": round(2.5 + 0.8 * float(np.sqrt(degree)), 1), "degree": int(degree)}
            for name, terminal, degree in zip(
                genes["gene"], genes["terminal"], genes["degree"], strict=True)
        ],
    }  # fmt: skip
