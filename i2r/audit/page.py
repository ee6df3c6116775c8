"""An audit as one page: verdicts first, then each question with its figures."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from i2r.audit.audit import Audit
from i2r.audit.fakes import METHODS
from i2r.audit.findings import Finding
from i2r.errors import count_words
from i2r.report import html
from i2r.store import files

VERDICTS = {
    "sound": "sound",
    "noted": "noted: it is there, but small or harmless",
    "leak": "LEAK: results suffer",
    "open": "open: this table and layout can't tell",
}
SHOWN = 200


def write_page(audit: Audit, *, table: str, layout: str) -> str:
    """Write the page; values from the table are escaped."""
    sections = [("verdicts", "Verdicts", _draw_verdicts(audit))]
    sections += [
        (finding.name.replace("_", "-"), finding.title, _draw_finding(finding, audit))
        for finding in audit.findings
    ]
    sections.append(("conditions", "Conditions", _draw_conditions(audit)))
    sections.append(("methods", "How it was done", Markup(METHODS_HTML)))
    return html.page(
        sections,
        made_by="i2r audit",
        heading="Audit of " + files.without_secrets(table).rpartition("/")[2],
        source=f"{files.without_secrets(table)}, {files.without_secrets(layout)}",
        description=_describe(audit),
    )


def _describe(audit: Audit) -> str:
    s = audit.summary
    return (
        f"{s['rows']:,} {s['rows_are']} on {count_words(s['plates'], 'plate')}: "
        f"{count_words(s['wells'], 'well')}, "
        f"{s['controls']} of them negative controls, {s['conditions']} conditions, "
        f"{s['features']} features."
    )


def _draw_verdicts(audit: Audit) -> Markup:
    frame = pd.DataFrame(
        [(f.title, VERDICTS[f.verdict].partition(":")[0], f.words) for f in audit.findings],
        columns=["question", "verdict", "found"],
    )
    return html.fill(
        "{% for note in notes %}<p class='muted'>{{ note }}.</p>{% endfor %}{{ table }}",
        notes=audit.summary["notes"],
        table=html.table(frame, "; ".join(VERDICTS.values()) + "."),
    )


def _draw_finding(finding: Finding, audit: Audit) -> Markup:
    parts = [
        html.fill(
            "<div class='{{ kind }}'><p><strong>{{ verdict }}.</strong> {{ words }}</p>"
            "{% if advice %}<p>{{ advice }}</p>{% endif %}</div>",
            kind="warning" if finding.verdict in ("leak", "open") else "finding",
            verdict=VERDICTS[finding.verdict].partition(":")[0].capitalize(),
            words=finding.words, advice=finding.advice,
        )
    ]  # fmt: skip
    if finding.name == "calibration" and len(audit.methods):
        caption = (
            "A quarter of the control wells at a time, labelled as compounds with as many wells as "
            "conditions have, compared with the other controls. A valid test calls 0.05 of them; "
            "one that takes nuclei of a well, or ranks of similar wells, for independent calls "
            "more."
        )
        parts.append(html.table(audit.methods, caption, bars=("p < 0.05",), whole=1.0))
    if finding.name == "power" and len(audit.power):
        shown = audit.power.rename(columns={"size": "change, SD of a control well"})
        caption = (
            "Share of fake compounds that are found when one feature of theirs, drawn at random, "
            "is changed by so much."
        )
        parts.append(html.table(shown, caption, bars=tuple(shown.columns[1:]), whole=1.0))
    strongest = finding.numbers.get("strongest")
    if strongest:
        frame = pd.DataFrame(list(strongest.items()), columns=["feature", "share of its spread"])
        caption = "The features that go with the place most, chance not taken off."
        parts.append(html.table(frame, caption, bars=("share of its spread",), whole=1.0))
    return Markup("").join(parts)


def _draw_conditions(audit: Audit) -> Markup:
    names = {
        "condition": "condition", "n_wells": "wells", "p_value": "p", "fdr": "FDR",
        "word": "what remains", "log2_count": "log2 nuclei", "count_p": "p of nuclei",
    }  # fmt: skip
    names |= {f"{name}_p": f"p of {words.partition(',')[0]}" for name, words in METHODS.items()}
    names["energy_wells_p"], names["energy_nuclei_p"] = "p, energy of wells", "p, E-test of nuclei"
    names["map_p"] = "p, mAP"
    shown = audit.conditions[[name for name in names if name in audit.conditions]]
    shown = shown.rename(columns=names)
    shown = shown.dropna(axis=1, how="all").head(SHOWN)
    more = len(audit.conditions) - len(shown)
    caption = (
        "Conditions by their p-value from profiles of wells, beside what other tests say of them. "
        "What remains: 'own', or 'count', 'focus', 'dna' or 'place' where the call is lost once "
        "what goes with the number of nuclei, the focus, the DNA content or the place is taken "
        "out. log2 nuclei: against the plate's "
        f"controls.{f' {more} more are in conditions.csv.' if more else ''}"
    )
    text = shown.select_dtypes(exclude=[np.number]).columns
    shown = shown.assign(**{name: shown[name].fillna("") for name in text})
    return html.table(shown, caption)


METHODS_HTML = """
<p>Wells are means of their rows, less the mean of their plate's control wells, over the standard
deviation of its control nuclei. p-values are those of the fast screen, against noise of replicates
and control wells that is put together as the condition's wells are; FDR: Benjamini and Hochberg.
What remains: the same test once more, with what goes with the number of nuclei, the focus or the
DNA content taken out as all other wells show it. Places: a surface
of rows, columns, their squares and product and the outermost wells, fitted on each plate; places
are permuted in the same way on all plates. Controls beside conditions: the location of the bulk of
conditions, found by trimming, over its standard error from control places. Stray wells: the
distance to the nearest replicate, against that of all wells. Verdicts need p &lt; 0.01 and a size
that matters: a tenth of the spread, 0.6 standard deviations of a control well, a fifth of the
scale, one well in a hundred. mAP as copairs has it (Kalinin et al., Nat. Commun. 2025); energy
distance: Szekely and Rizzo 2013; on nuclei as in Peidli et al., Nat. Methods 2024.</p>
"""
