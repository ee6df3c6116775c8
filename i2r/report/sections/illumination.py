"""The median field of every plate and channel, as it was and with its function divided out."""

from typing import Any

import numpy as np

from i2r.report.html import fill, table
from i2r.report.images import Window, png_uri, shrink, to_grey
from i2r.report.source import ReportSource, StageRecord
from i2r.store.arrays import read_array

TITLE = "Illumination"
ORDER = 45
# Pictures of so many plates and channels; the table has all of them.
MAX_SHOWN = 12
# What is black and white, relative to the median of the field.
WINDOW = Window(0.4, 1.6)

PICTURES = """
<div class="fields">
{% for shown in fields %}
<figure>
<div class="pair">
<img src="{{ shown.before }}" alt="{{ shown.words }} before correction">
<img src="{{ shown.after }}" alt="{{ shown.words }} after correction">
</div>
<figcaption>Median field, {{ shown.words }}: before (left) and after correction (right), of
{{ shown.n_fields|plural("field") }}. Unevenness (99th over 1st percentile)
{{ shown.uneven_before|number }} before, {{ shown.uneven_after|number }} after.</figcaption>
</figure>
{% endfor %}
</div>
<p class="muted">Each picture is the median over all fields of a plate, every field relative to its
own median; black is 0.4, white 1.6 of it. An even light is an even grey;
where fields are many, cells do not show.</p>
"""


def draw(source: ReportSource) -> str | None:
    """Show pictures of the first plates and channels, and a table of all."""
    fragments = []
    for stage in source.stages_of("illuminate"):
        done = source.results(stage.title)
        measured = source.table(stage.title)
        if not done or measured is None:
            continue
        fields = [_draw_field(source, stage, key, done[key]) for key in sorted(done)[:MAX_SHOWN]]
        caption = (
            f"Illumination functions of '{stage.title}' (method "
            f"'{stage.options.get('method', 'median')}'): images are divided by them. Least and "
            "greatest value, without unit."
        )
        fragments.append(
            fill(PICTURES, fields=fields)
            + table(measured.rename(columns={"n_fields": "fields"}), caption)
        )
    return "".join(fragments) or None


def _draw_field(
    source: ReportSource, stage: StageRecord, key: str, result: dict[str, Any]
) -> dict[str, Any]:
    """Draw the median field of one plate and channel twice."""
    plate, _, channel = key.partition("/")
    url = source.experiment.illumination_url(stage.title, plate, channel)
    before, function = read_array(f"{url}/typical"), read_array(f"{url}/function")
    block = -(-function.shape[0] // before.shape[0])
    coarse = shrink(function, block)
    rows, columns = (min(a, b) for a, b in zip(before.shape, coarse.shape, strict=True))
    before = before[:rows, :columns]
    after = before / coarse[:rows, :columns]
    after = after / max(float(np.median(after)), 1e-9)
    return {
        "words": f"{plate} {channel}",
        "n_fields": int(result.get("fields", 0)),
        "before": png_uri(to_grey(before, WINDOW)),
        "after": png_uri(to_grey(after, WINDOW)),
        "uneven_before": _measure_unevenness(before),
        "uneven_after": _measure_unevenness(after),
    }


def _measure_unevenness(field: np.ndarray) -> float:
    """Ratio of the 99th to the 1st percentile."""
    low, high = np.percentile(field, (1, 99))
    return float(high / low) if low > 0 else float("inf")
