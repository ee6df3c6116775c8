"""The map from perturbations to regulatory genes: top-k curves, nulls, ranks of genes."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from markupsafe import Markup

from i2r.report import html
from i2r.report.lines import Line, draw_lines
from i2r.report.scales import place_on
from i2r.report.sections.embeddings import choose_colours
from i2r.report.source import ReportSource, StageRecord

TITLE = "From perturbations to genes"
ORDER = 37
MANY_HUBS = 2.0
SIZE_PX = 520
_LABELLED = (
    " Embeddings were made with labels, which may come from the same perturbations: curves and "
    "ranks may find those again, and p (shuffled) is of ranks among the genes without a label."
)


def draw(source: ReportSource) -> str | None:
    """Show every map that is complete."""
    drawn = [part for stage in source.stages_of("map") for part in _draw_stage(source, stage)]
    return Markup("").join(drawn) if drawn else None


def list_tables(source: ReportSource) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the top-k curves of all methods."""
    yield from source.list_reduced("map", {"curves": "genes found among the best k"})


def list_findings(source: ReportSource) -> Iterator[tuple[str, Markup]]:
    """Give the verdict on every map that is complete, by the stage's title."""
    for stage in source.stages_of("map"):
        scores, hubs = (
            source.reduced_table(stage.title, f"{stage.title}{name}")
            for name in ("-scores", "-hubs")
        )
        if scores is not None and hubs is not None:
            yield stage.title, _judge(scores.iloc[0], hubs)


def _draw_stage(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw one map: verdict, curves, scores of the methods, genes."""
    genes, curves, scores, hubs = (
        source.reduced_table(stage.title, f"{stage.title}{name}")
        for name in ("", "-curves", "-scores", "-hubs")
    )
    if genes is None or curves is None or scores is None or hubs is None:
        return []
    lines = [
        Line(
            str(method), rows["k"].tolist(), rows["accuracy"].tolist(),
            rows["low"].tolist() if method in ("map", "shuffled link") else (),
            rows["high"].tolist() if method in ("map", "shuffled link") else (),
            is_dashed=method in ("random", "shuffled link"),
        )
        for method, rows in curves.groupby("method", sort=False)
    ]  # fmt: skip
    return [
        html.fill("<h3>{{ title }}</h3>", title=stage.title),
        _judge(scores.iloc[0], hubs),
        draw_lines(
            lines, x_title="k, candidates looked at",
            y_title="share of genes among the best k",
            caption="Every gene is left out in turn, and all genes of the network are ranked. "
            "Dashed: chance. Bands: "
            "95 % interval over genes of the map, and range of 95 % of shuffled links. Methods "
            "whose "
            "options were chosen on these very predictions, as published, are too good; see below."
            + (_LABELLED if "rank_unlabelled" in genes else ""),
        ),
        _list_methods(scores, are_labelled="rank_unlabelled" in genes),
        *_draw_places(source, stage),
        *_list_coclustering(source, stage),
        _list_genes(genes),
    ]  # fmt: skip


def _draw_places(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw candidates, and predictions beside the genes that they are of."""
    places = source.reduced_table(stage.title, f"{stage.title}-places")
    if places is None or not len(places):
        return []
    spans = [(float(v.min()), float(v.max() if np.ptp(v) > 0 else v.min() + 1))
             for v in (places["x"], places["y"])]  # fmt: skip
    x = place_on(spans[0], (36, SIZE_PX - 16))
    y = place_on(spans[1], (SIZE_PX - 36, 16))
    kinds = ["candidate", "left out", "predicted"]
    colours = choose_colours(pd.Series(kinds, dtype=str))
    points = [
        {"x": x(float(row.x)), "y": y(float(row.y)), "colour": colours[row.kind],
         "title": f"{row.gene}: {row.kind}", "label": "", "anchor": ""}
        for row in places.itertuples()
    ]  # fmt: skip
    by_kind = {kind: own.set_index("gene") for kind, own in places.groupby("kind")}
    links = []
    if {"left out", "predicted"} <= by_kind.keys():
        true = by_kind["left out"]
        links = [
            (x(float(row.x)), y(float(row.y)), x(float(true["x"][row.Index])),
             y(float(true["y"][row.Index])))
            for row in by_kind["predicted"].itertuples() if row.Index in true.index
        ]  # fmt: skip
    return [
        html.render(
            "scatter.html", points=points, links=links, size=SIZE_PX, legend_title="Points",
            label="Predictions and genes by principal components of regulatory embeddings",
            legend=[(kind, colours[kind]) for kind in kinds],
            x_title="first principal component", y_title="second",
            caption="Genes of the network by their regulatory embeddings, and what was predicted "
            "for each gene left out, with a line to the gene itself.",
        )
    ]  # fmt: skip


def _list_coclustering(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Show whether clusters of both spaces hold the same genes."""
    found = source.reduced_table(stage.title, f"{stage.title}-coclustering")
    if found is None or not found["p_value"].notna().any():
        return []
    wide = found.pivot(index="clusters_seen", columns="clusters_regulatory", values="p_value")
    shown = wide.set_axis([str(k) for k in wide.columns], axis=1)
    return [
        html.table(
            shown.rename_axis("clusters", axis=0).reset_index(),
            "Do clusters of perturbation embeddings (rows, how many) and of regulatory embeddings "
            "(columns) hold the same genes: p-values of their mutual information beside 1,000 "
            "random deals of the genes. They are not corrected for the number of cells.",
        )
    ]


def _judge(score: pd.Series, hubs: pd.DataFrame) -> Markup:
    """Say in words what was found."""
    p = float(score["p_permutation"])
    verdict = "Better than shuffled links" if p <= 0.05 else "No better than shuffled links"
    if np.isnan(p):
        verdict = "Not compared with shuffled links, so nothing can be said"
    return html.fill(
        "<p><b>{{ verdict }}</b>{% if p is not none %} (p = {{ p }}){% endif %}: of {{ n }} genes "
        "left out, {{ decile }} are among the best tenth of {{ candidates }} candidates (10 % by "
        "chance), and the median rank is {{ rank|number }} ({{ middle|number }} by chance). "
        "{% if skewness > many %}A few genes are near to every prediction (skewness {{ "
        "skewness|number }} "
        "of how often a gene is among the ten nearest, most often {{ hub }}); the option "
        "<code>hubs: correct</code> lowers them.{% else %}No genes are near to every prediction "
        "(skewness {{ skewness|number }}).{% endif %}</p>",
        verdict=verdict, p=None if np.isnan(p) else f"{p:.2g}",
        n=int(score["genes"]), decile=html.percent(float(score["top_decile"])),
        candidates=int(score["candidates"]), rank=float(score["median_rank"]),
        middle=(int(score["candidates"]) + 1) / 2, skewness=float(score["hub_skewness"]),
        many=MANY_HUBS, hub=str(hubs["candidate"].iloc[0]),
    )  # fmt: skip


def _list_methods(scores: pd.DataFrame, *, are_labelled: bool) -> Markup:
    """List the methods with how their options were chosen."""
    columns = {
        "method": "method", "selection": "options", "median_rank": "median rank",
        "mean_reciprocal_rank": "mean 1/rank", "top_decile": "best tenth",
        "log_score": "log score", "log_score_low": "low", "log_score_high": "high",
        "auc_20": "AUC 20", "auc_50": "AUC 50", "p_chance": "p (chance)",
        "p_permutation": "p (shuffled)",
    }  # fmt: skip
    chance = float(scores["log_score_chance"].iloc[0])
    return html.table(
        scores[list(columns)].rename(columns=columns),
        "Log score: mean of 1 - log(rank) / log(candidates), with its 95 % interval over genes; "
        f"{chance:.3f} is chance. AUC 20 and 50: sum of top-k accuracies over k + 1, as published. "
        "p (chance): binomial, of the best tenth; p (shuffled): of the log score, choice of "
        "options "
        "included" + (", and of ranks among the genes without a label." if are_labelled else "."),
        scores=("mean 1/rank", "best tenth", "log score", "low", "high", "AUC 20", "AUC 50"),
    )


def _list_genes(genes: pd.DataFrame) -> Markup:
    """List the genes left out by their rank."""
    columns = {
        "gene": "gene", "rank": "rank", "nearest": "nearest", "configuration": "map",
        "rank_plain_tangent_kernel": "rank, plain", "rank_mean_of_all_candidates": "rank, mean",
    }  # fmt: skip
    return html.table(
        genes[list(columns)].rename(columns=columns),
        f"Genes left out, by their rank among {int(genes['candidates'].iloc[0])} candidates; "
        "'nearest' is the gene ranked first. 'plain' is the published kernel without any choice, "
        "'mean' the order of candidates that knows nothing of the query.",
        bars=("rank",),
    )
