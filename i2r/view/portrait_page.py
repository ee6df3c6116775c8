"""A portrait as one offline page."""

from markupsafe import Markup

from i2r.report import html
from i2r.report.distributions import draw_distributions
from i2r.report.images import join_strip, jpeg_uri, overlay_uri, png_uri
from i2r.report.source import ReportSource
from i2r.store import files
from i2r.view.portrait import N_NUCLEI, Portrait

ORANGE = (255, 150, 0)


def draw_page(source: ReportSource, portrait: Portrait) -> str:
    """Draw a portrait as a self-contained page, in the report's style."""
    subject = portrait.subject
    sections = [
        ("found", "What was found", _fill("portrait.html", portrait)),
        ("nuclei", "Nuclei", _draw_strips(portrait)),
        ("fields", "Fields", _draw_fields(portrait)),
        ("features", "Features", _draw_features(portrait)),
    ]
    return html.page(
        [(anchor, title, body) for anchor, title, body in sections if body],
        made_by="i2r show",
        heading=f"{subject.kind} {subject.name}",
        source=files.without_secrets(source.experiment.url),
        description=f"Of {source.experiment.url.rpartition('/')[2]}, by i2r show",
    )


def _fill(name: str, portrait: Portrait) -> Markup:
    listed = html.table(portrait.wells, "The wells, and the labelled nuclei of each.")
    return html.render(name, facts=portrait.facts, why=portrait.why, wells=listed)


def _draw_strips(portrait: Portrait) -> Markup | None:
    """Draw strips of nuclei, a row per channel."""
    if not portrait.strips:
        return None
    shown = [
        {
            "name": strip.words,
            "strips": [
                (channel, png_uri(join_strip(list(tiles), N_NUCLEI)))
                for channel, tiles in zip(portrait.channels, strip.tiles, strict=False)
            ],
        }
        for strip in portrait.strips
    ]
    return html.render("portrait_nuclei.html", shown=shown, count=N_NUCLEI)


def _draw_fields(portrait: Portrait) -> Markup | None:
    """Draw fields with their outlines."""
    if not portrait.fields:
        return None
    fields = [
        {
            "words": field.words,
            "image": jpeg_uri(field.grey),
            "outlines": overlay_uri(field.outlines.astype("uint8"), [ORANGE]),
        }
        for field in portrait.fields
    ]
    return html.render("portrait_fields.html", fields=fields)


def _draw_features(portrait: Portrait) -> Markup | None:
    """Draw the distributions of what moved most."""
    if portrait.relative is None:
        return None
    # Only a screen's changes have intervals, and they are in another unit.
    unit = "wells" if any(item.low == item.low for item in portrait.moved) else "nuclei"
    return draw_distributions(
        portrait.relative, portrait.moved, what=portrait.subject.name, unit=unit
    )
