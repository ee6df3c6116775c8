"""What was run, what was found, and what to look at first."""

from collections import Counter

from i2r.errors import count_words
from i2r.report.html import render, score
from i2r.report.screens import ScreenResult, list_screens
from i2r.report.sections import mapping, predictions
from i2r.report.source import ReportSource

TITLE = "Overview"
ORDER = 10
# Names listed in a warning before it only counts the others.
LISTED = 8


def draw(source: ReportSource) -> str:
    """Show counts, the main findings in words, and warnings."""
    screens = list_screens(source)
    return render(
        "overview.html",
        cards=_count(source),
        stages=source.stages,
        findings=[_describe(screen) for screen in screens],
        answers=[*mapping.list_findings(source), *predictions.list_findings(source)],
        warnings=[(headline, _shorten(cases)) for headline, cases in _warn(source, screens)],
    )


def _count(source: ReportSource) -> list[tuple[str, int]]:
    """Count what there is."""
    wells = source.wells
    cards = [
        ("plates", wells["plate"].nunique()),
        ("wells", len(wells)),
        ("conditions", wells.loc[wells["role"] != "empty", "condition"].nunique()),
        ("fields", int(wells["n_fields"].sum())),
        ("excluded fields", len(source.excluded_fields)),
    ]
    if source.stages_of("segment"):
        cards.append(("nuclei", sum(source.nuclei_per_well.values())))
    for crop in source.stages_of("crop"):
        n_crops = sum(int(r.get("nuclei", 0)) for r in source.results(crop.title).values())
        cards.append(("crops" if crop.title == "crop" else f"crops ({crop.title})", n_crops))
    cards.append(("failed units", sum(e.event == "failed" for e in source.entries())))
    return [(word.removesuffix("s") if number == 1 else word, number) for word, number in cards]


def _describe(screen: ScreenResult) -> dict[str, str]:
    """Put a screen's result into words."""
    scored = screen.conditions.dropna(subset=["score"])
    if scored.empty:
        return {"title": screen.stage.title, "setup": screen.setup, "text": "Nothing was scored."}
    best = scored.iloc[:3]
    names = ", ".join(
        f"{c} ({score(s)})" for c, s in zip(best["condition"], best["score"], strict=True)
    )
    sentences = [f"Highest scores: {names}."]
    limits = screen.null_range
    if limits is not None:
        above = int((scored["score"] > limits[1]).sum())
        sentences.insert(
            0,
            f"{above} of {count_words(len(scored), 'condition')} score above the range of draws of "
            f"control wells (up to {score(limits[1])}).",
        )
    positive = scored[scored["kind"] == "positive_control"]
    if len(positive):
        known = ", ".join(
            f"{c} {score(s)} (rank {r})"
            for c, s, r in zip(
                positive["condition"][:4], positive["score"][:4], positive["rank"][:4], strict=True
            )
        )
        more = " and others" if len(positive) > 4 else ""
        sentences.append(f"Positive controls: {known}{more}.")
    called = int(screen.conditions["impactful"].sum())
    sentences.append(f"{called} impactful ({screen.statistics['impactful']}).")
    sentences.append(screen.null_words)
    return {"title": screen.stage.title, "setup": screen.setup, "text": " ".join(sentences)}


def _warn(source: ReportSource, screens: list[ScreenResult]) -> list[tuple[str, list[str]]]:
    """List what may mislead a reader: a headline each, and the cases."""
    warnings = []
    for event, words in (("failed", "failed"), ("blocked", "could not run, because others failed")):
        units = sorted(
            (e for e in source.entries() if e.event == event), key=lambda e: (e.stage, e.key)
        )
        if units:
            cases = [
                f"{e.stage} {e.key}" + (f": {e.error.splitlines()[0]}" if e.error else "")
                for e in units
            ]
            warnings.append((f"{count_words(len(units), 'unit')} {words}", cases))
    excluded = source.excluded_fields
    if len(excluded):
        reasons = Counter(excluded["reason"]).most_common()
        headline = ", ".join(f"{count} {reason}" for reason, count in reasons)
        cases = [
            f"{row.key} field {row.field}: {row.reason} ({row.stage})"
            for row in excluded.itertuples()
        ]
        warnings.append((f"{count_words(len(excluded), 'field')} left out: {headline}", cases))
    empty = [key for key, count in source.nuclei_per_well.items() if not count]
    if empty:
        cases = [f"{key}: {source.wells.at[key, 'condition']}" for key in empty]
        warnings.append((f"{count_words(len(empty), 'well')} without any nucleus", cases))
    cautions = [f"{s.stage.title}: {words}" for s in screens for words in s.cautions]
    if cautions:
        warnings.append(("Splits to keep in mind", cautions))
    unscored = [
        f"{screen.stage.title} {row.condition}: {row.note or 'no score'}"
        for screen in screens
        for row in screen.conditions.itertuples()
        if row.score != row.score
    ]
    if unscored:
        warnings.append((f"{count_words(len(unscored), 'condition')} without a score", unscored))
    return warnings


def _shorten(cases: list[str]) -> list[str]:
    """Keep the first cases and count the others."""
    more = len(cases) - LISTED
    return [*cases[:LISTED], f"and {more} more"] if more > 0 else cases
