"""Predicted genes: what was answered, how sure it is, and what was not answered and why."""

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from i2r.report import html
from i2r.report.lines import Line, draw_lines
from i2r.report.source import ReportSource, StageRecord

TITLE = "Predicted genes"
ORDER = 38
BEST = 5
UNCALLED = {True: " (not called by the screen)", False: ""}


def draw(source: ReportSource) -> str | None:
    """Show the answers of every stage that predicted genes."""
    drawn = [part for stage in source.stages_of("predict") for part in _draw_stage(source, stage)]
    return Markup("").join(drawn) if drawn else None


def list_findings(source: ReportSource) -> Iterator[tuple[str, Markup]]:
    """Say of every stage how many queries it answered, by the stage's title."""
    for stage in source.stages_of("predict"):
        if source.table(stage.title) is not None:
            queries = source.experiment.table(f"{stage.title}-queries")
            yield stage.title, _count_answers(queries, float(stage.options.get("level", 0.9)))


def _draw_stage(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw one stage: counts, then one row per query."""
    ranked = source.table(stage.title)
    if ranked is None:
        return []
    queries = source.experiment.table(f"{stage.title}-queries")
    level = float(stage.options.get("level", 0.9))
    return [
        html.fill("<h3>{{ title }}</h3>", title=stage.title),
        _count_answers(queries, level),
        *_draw_curves(source, stage),
        _list_queries(queries, ranked, level),
    ]


def _draw_curves(source: ReportSource, stage: StageRecord) -> list[Markup]:
    """Draw how often the true gene is among the best k, where it is known."""
    curves = source.reduced_table(stage.title, f"{stage.title}-curves")
    if curves is None or not len(curves):
        return []
    lines = [
        Line(
            f"{name} ({int(rows['count'].iloc[0])})", rows["k"].tolist(),
            rows["accuracy"].tolist(), rows["low"].tolist(), rows["high"].tolist(),
        )
        for name, rows in curves.groupby("queries", sort=False)
    ]  # fmt: skip
    first = curves[curves["queries"] == curves["queries"].iloc[0]]
    lines.append(Line("chance", first["k"].tolist(), first["chance"].tolist(), is_dashed=True))
    return [
        draw_lines(
            lines, x_title="k, candidates looked at", y_title="share of queries among the best k",
            caption="Queries whose gene is known: 'new' where the map never learned from the gene, "
            "'left out' where it did and was made without it. Bands: 95 % interval over queries.",
        )
    ]  # fmt: skip


def _count_answers(queries: pd.DataFrame, level: float) -> Markup:
    """Say how many queries were answered, and how often the sets hold a gene that is known."""
    answered = queries["answer"] == "ranked"
    known = queries["rank_true"].notna()
    return html.fill(
        "<p>Answered: {{ answered }} of {{ queries|plural('query', 'queries') }}; for the others "
        "an answer would be no better than that of shuffled links, or the screen calls no effect. "
        "{% if known %}The true gene is known for {{ known }}{% if left_out %} ({{ left_out }} of "
        "them left out of the map for their own query){% endif %}{% if both %}; {{ both }} of "
        "these were answered, and the {{ level }} sets hold the gene in {{ held }} of them"
        "{% endif %}.{% endif %}</p>",
        answered=int(answered.sum()), queries=len(queries),
        known=int(known.sum()), left_out=int(queries["left_out"].sum()),
        both=int((known & answered).sum()), level=html.percent(level),
        held=html.percent(queries.loc[known & answered, "in_set"].astype(float).mean()),
    )  # fmt: skip


def _list_queries(queries: pd.DataFrame, ranked: pd.DataFrame, level: float) -> Markup:
    """List queries with their best candidates, or why there are none."""
    best = {
        str(query): ", ".join(
            f"{row.candidate}{' (beyond the network)' if row.beyond_network else ''}"
            for row in rows.nsmallest(BEST, "place").itertuples()
        )
        for query, rows in ranked.groupby("query")
    }
    places = ranked[ranked["place"] == BEST].set_index("query")["confidence"]
    table = pd.DataFrame(
        {
            "query": queries["query"] + queries["impactful"].eq(False).map(UNCALLED).fillna(""),
            f"best {BEST} genes": [
                best.get(str(query), f"none: {reason}")
                for query, reason in zip(queries["query"], queries["reason"], strict=True)
            ],
            f"probability among {BEST}": queries["query"].map(places).astype(float),
            f"genes in the {html.percent(level)} set": queries["set_size"],
            "p": queries["p_query"],
            "true gene": queries["gene"],
            "its rank": queries["rank_true"],
        }
    )
    compared = set(queries["compared_with"]) - {""}
    if compared:
        table.insert(1, "nuclei", queries["n_nuclei"].astype(int))
    return html.table(
        table,
        "Queries and the genes ranked first. The probability that the true gene is among the first "
        f"{BEST}, and the set that holds it with {html.percent(level)} probability, are calibrated "
        "on genes left out of the map. p: whether the genes that a query resembles agree on a "
        "place. Its rank: of the true gene; a dash where it is not among the candidates."
        + (f" New images are compared with {', '.join(sorted(compared))}." if compared else ""),
        scores=(f"probability among {BEST}",),
    )
