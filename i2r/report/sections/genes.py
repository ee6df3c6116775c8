"""Regulatory gene embeddings: clusters and their gene sets, quality of links, stability."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from markupsafe import Markup

from i2r.report import html
from i2r.report.labels import choose_labels
from i2r.report.lines import Line, draw_lines
from i2r.report.scales import place_on
from i2r.report.sections.embeddings import choose_colours
from i2r.report.source import ReportSource, StageRecord

TITLE = "Regulatory genes"
ORDER = 36
SIZE_PX, LABELS, MEMBERS = 520, 40, 14
# Gene sets are named from here on.
FDR = 0.05
SETS = 30
SET_HEADINGS = {"gene_set": "gene set", "odds_ratio": "odds ratio", "p_value": "p", "fdr": "FDR"}
# Below this two trainings disagree about most clusters.
STABLE = 0.6


def draw(source: ReportSource) -> str | None:
    """Show every stage that embedded the genes of a network."""
    drawn = [part for stage in source.stages_of("genes") for part in _draw_stage(source, stage)]
    return Markup("").join(drawn) if drawn else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the genes' clusters and the silhouettes of all numbers of clusters."""
    shown = {"clusters": "clusters of genes", "curves": "silhouette by number of clusters"}
    yield from source.list_reduced("genes", shown)


def _draw_stage(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw one stage: map of genes, clusters, curves, links and seeds."""
    tables = {
        name: source.reduced_table(stage.title, f"{stage.title}{name}")
        for name in (
            "",
            "-clusters",
            "-curves",
            "-enrichment",
            "-quality",
            "-stability",
            "-background",
            "-neighbours",
            "-agreement",
            "-training",
        )
    }
    embedding, clusters, curves = tables[""], tables["-clusters"], tables["-curves"]
    if embedding is None or clusters is None or curves is None:
        return []
    parts = [
        html.fill("<h3>{{ title }}</h3>", title=stage.title),
        *_say_stability(tables["-stability"]),
        _draw_map(embedding, clusters),
        _list_clusters(clusters, tables["-enrichment"]),
    ]
    known = curves.dropna(subset=["silhouette"])
    if len(known) > 1:
        chosen = int(curves.loc[curves["chosen"], "k"].iloc[0])
        parts.append(
            draw_lines(
                [Line("silhouette", known["k"].tolist(), known["silhouette"].tolist())],
                x_title="number of clusters", y_title="mean silhouette",
                caption=f"Agglomerative clusters (cosine, complete linkage); {chosen} are "
                "reported. "
                "Values near 0 mean that genes lie between clusters.",
            )
        )  # fmt: skip
    parts += _draw_quality(tables["-quality"], tables["-stability"])
    parts += _list_background(tables["-background"])
    parts += _list_neighbours(tables["-neighbours"])
    parts += _draw_agreement(tables["-agreement"])
    parts += _draw_losses(tables["-training"])
    return parts


def _say_stability(stability: pd.DataFrame | None) -> list[Markup]:
    """Say beside the embedding whether another training would give it again."""
    if stability is None or not len(stability):
        return []
    ari = float(stability["ari"].mean())
    return [
        html.fill(
            "<p><b>Stability: {{ ari|score }}</b>, the mean adjusted Rand index of the clusters of "
            "two trainings (1 is equal, 0 is chance; {{ n|plural('pair', 'pairs') }}).{% if low %} "
            "Clusters change from training to training: read neighbours that all trainings share, "
            "not clusters.{% endif %}</p>",
            ari=ari, n=len(stability), low=ari < STABLE,
        )
    ]  # fmt: skip


def _list_background(background: pd.DataFrame | None) -> list[Markup]:
    """List gene sets of the whole network."""
    if background is None or not len(background):
        return []
    found = background[background["fdr"] <= FDR].head(SETS)
    shown = found.drop(columns=["universe"]).rename(columns=SET_HEADINGS)
    return [
        html.table(
            shown,
            "Gene sets that the whole network has more genes of than the pruned interactome that "
            f"it was chosen from ({int(background['universe'].iloc[0])} genes): FDR up to "
            f"{FDR:g}, the first {SETS}.",
        )
    ]


def _list_neighbours(neighbours: pd.DataFrame | None) -> list[Markup]:
    """List the gene sets of genes' neighbours."""
    if neighbours is None or not len(neighbours):
        return []
    found = neighbours[neighbours["fdr"] <= FDR].sort_values(["p_value", "gene"]).head(SETS)
    shown = found.drop(columns=["universe"]).rename(columns=SET_HEADINGS)
    return [
        html.table(
            shown,
            "Gene sets that are frequent among the 20 nearest genes of a gene, itself left out: "
            f"FDR within gene and collection up to {FDR:g}, the {SETS} surest.",
        )
    ]


def _draw_agreement(agreement: pd.DataFrame | None) -> list[Markup]:
    """Show the adjusted mutual information of trainings over numbers of clusters."""
    if agreement is None or not len(agreement):
        return []
    wide = agreement.pivot(index="k_a", columns="k_b", values="ami")
    shown = wide.set_axis([str(k) for k in wide.columns], axis=1)
    return [
        html.table(
            shown.rename_axis("clusters", axis=0).reset_index(),
            "Adjusted mutual information of the clusters of two trainings, by how many clusters "
            "either is cut into (mean over pairs; 1 is equal, 0 is chance).",
            scores=tuple(map(str, wide.columns)),
        )
    ]


def _draw_losses(training: pd.DataFrame | None) -> list[Markup]:
    """Draw the losses of the first training, with their parts."""
    if training is None or not len(training) or "training_links" not in training:
        return []
    first = training[training["seed"] == training["seed"].iloc[0]]
    names = [n for n in first if n.startswith(("training", "validation")) and first[n].any()]
    return [
        draw_lines(
            [
                Line(n.replace("_", ", "), first["epoch"].tolist(), first[n].tolist(),
                     is_dashed=n.startswith("validation"))
                for n in names
            ],
            x_title="pass", y_title="loss",
            caption=f"Losses of seed {int(first['seed'].iloc[0])}: in all, and of links, features "
            "and labels before they are weighted; dashed: of links kept for validation.",
        )
    ]  # fmt: skip


def _draw_map(embedding: pd.DataFrame, clusters: pd.DataFrame) -> Markup:
    """Place genes by the first two principal components."""
    rows = embedding[[n for n in embedding if str(n).startswith("e")]].to_numpy(dtype=float)
    left, singular, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    places = (left * singular)[:, :2]
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    by_gene = clusters.set_index("gene")
    spans = [(float(v.min()), float(v.max() if np.ptp(v) > 0 else v.min() + 1)) for v in places.T]
    x = place_on(spans[0], (36, SIZE_PX - 16))
    y = place_on(spans[1], (SIZE_PX - 36, 16))
    at = {
        gene: (x(float(a)), y(float(b)))
        for gene, (a, b) in zip(embedding["gene"], places, strict=True)
    }
    named = choose_labels(at, list(clusters.nlargest(LABELS, "degree")["gene"]), width=SIZE_PX)
    numbers = by_gene.loc[embedding["gene"], "cluster"].astype(int) + 1
    # Numbers of one length, so that the colours' order is theirs.
    words = {number: f"{number:{len(str(numbers.max()))}d}" for number in sorted(set(numbers))}
    colours = choose_colours(pd.Series(words.values(), dtype=str))
    points = [
        {
            "x": at[gene][0], "y": at[gene][1], "colour": colours[words[number]],
            "title": f"{gene}: cluster {number}", "label": gene if gene in named else "",
            "anchor": named.get(gene, ""),
        }
        for gene, number in numbers.items()
    ]  # fmt: skip
    shares = [float(v) for v in singular[:2] ** 2 / max((singular**2).sum(), 1e-300)] + [0.0]
    return html.render(
        "scatter.html", points=points, links=[], size=SIZE_PX, legend_title="Clusters",
        label="Genes by the first two principal components of their embeddings",
        legend=[(number, colours[word]) for number, word in words.items()],
        x_title=f"first principal component, {html.percent(shares[0])} of the variance",
        y_title=f"second, {html.percent(shares[1])}",
        caption="Genes by the first two principal components of their embeddings, coloured by "
        f"cluster; of the {LABELS} with most links those are named that have room, others when "
        "you point at them.",
    )  # fmt: skip


def _list_clusters(clusters: pd.DataFrame, enrichment: pd.DataFrame | None) -> Markup:
    """List clusters with their members and best gene sets."""
    rows = []
    for cluster, own in clusters.groupby("cluster"):
        best = ""
        if enrichment is not None and len(enrichment):
            found = enrichment[(enrichment["cluster"] == cluster) & (enrichment["fdr"] <= FDR)]
            found = found.sort_values(["p_value", "gene_set"]).head(3)
            best = "; ".join(
                f"{row.gene_set} ({row.overlap} of {row.size}, FDR {row.fdr:.1g})"
                for row in found.itertuples()
            )
        members = own.sort_values(["degree", "gene"], ascending=[False, True])["gene"].tolist()
        more = f" and {len(members) - MEMBERS} more" if len(members) > MEMBERS else ""
        rows.append(
            {
                "cluster": int(cluster) + 1, "genes": len(own),
                "silhouette": float(own["silhouette"].mean()),
                f"gene sets (FDR up to {FDR:g})": best,
                "members, most links first": ", ".join(members[:MEMBERS]) + more,
            }
        )  # fmt: skip
    universe = len(clusters)
    return html.table(
        pd.DataFrame(rows),
        "Clusters of genes by their embeddings. Gene sets: one-sided Fisher test against the "
        f"{universe} genes that have an embedding, Benjamini-Hochberg within a cluster and "
        "collection, sets of 10 to 500 of these genes.",
        bars=("genes",), scores=("silhouette",),
    )  # fmt: skip


def _draw_quality(quality: pd.DataFrame | None, stability: pd.DataFrame | None) -> list[Markup]:
    """Show how well links are predicted, and whether seeds agree."""
    parts = []
    if quality is not None and len(quality):
        shown = quality[quality["held_out"] == ""].groupby("method", sort=False)
        table = shown[["auc", "average_precision"]].agg(["mean", "min", "max"])
        table.columns = [f"{a.replace('_', ' ')} {b}" for a, b in table.columns]
        parts.append(
            html.table(
                table.reset_index(),
                "Links of the network that were kept from training, told from as many pairs "
                "without "
                "a link: area under the ROC curve (0.5 is guessing) and average precision, over "
                "seeds. Spectral and node2vec embeddings see the same links and need no training.",
                scores=tuple(table.columns),
            )
        )
    if stability is not None and len(stability):
        means = stability[["ari", "ami", "neighbour_overlap", "rank_spread"]].mean()
        parts.append(
            html.fill(
                "<p>Two seeds agree with an adjusted Rand index of {{ ari|score }} and an adjusted "
                "mutual information of {{ ami|score }} of their clusters (1 is equal, 0 is "
                "chance); "
                "they share {{ overlap }} of each gene's ten nearest genes, and ranks of "
                "neighbours "
                "move by {{ spread }} of all places. The embedding that later stages use joins "
                "all seeds.</p>",
                ari=float(means["ari"]), ami=float(means["ami"]),
                overlap=html.percent(means["neighbour_overlap"]),
                spread=html.percent(means["rank_spread"], 1),
            )
        )  # fmt: skip
    return parts
