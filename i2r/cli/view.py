"""Commands to look at what is in an experiment: view and show."""

import re
from pathlib import Path

import rich_click as click

from i2r.cli.options import confirm_overwriting, yes_option
from i2r.errors import InputError
from i2r.store import files


@click.command()
@click.argument("experiment", type=click.Path())
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="a free one",
    help="Port on this machine, for one that is forwarded (ssh -L).",
)
def view(experiment: str, port: int) -> None:
    """Look at EXPERIMENT in a browser: plate maps, hits, wells, fields, nuclei.

    Prints an address for this machine's browser; it holds a token, without which nobody is let
    in. Plate maps of any measure, the table of hits, and behind each hit its wells, its nuclei
    beside those of controls, its fields with outlines; a click on a nucleus shows what was
    measured of it and the nuclei most like it. Nuclei are shown in the channel whose features moved
    most, until you choose another. Every view has an address of its own, to be kept or sent to
    somebody on this machine.

    Nothing is written, so it works while a run does. From another machine: give a --port, and
    forward it with 'ssh -L PORT:127.0.0.1:PORT HOST'. Ctrl-C ends it.
    """
    from i2r.view.live import LiveExperiment
    from i2r.view.server import serve

    live = LiveExperiment(experiment)
    try:
        serve(live, port=port, say=lambda address: click.echo(f"{address}\nCtrl-C ends it."))
    except OSError as error:
        if not port:
            raise
        raise InputError(
            f"--port {port}: can't be used ({error.strerror}). Give another, or none."
        ) from error


@click.command()
@click.argument("experiment", type=click.Path())
@click.argument("name", metavar="WELL|CONDITION|GENE")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="File to write, .html or .png (default: NAME.html in this folder).",
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    help="Channel to draw, may be given several times (default: nuclei in all channels, fields in "
    "the one whose features moved most and the one that was segmented).",
)
@yes_option("Replace the file without asking.")
def show(
    experiment: str, name: str, output: str | None, channels: tuple[str, ...], yes: bool
) -> None:
    """Write all there is to say of one WELL, CONDITION or GENE of EXPERIMENT on one offline page.

    Nuclei beside those of controls, fields with outlines, the features that moved most with
    their distributions, its p-value and why. A well is PLATE/B03, or B03 where there is one plate;
    a condition is named as the tables name it (drug@2), a perturbation stands for all its doses.
    """
    from i2r.view.live import open_source
    from i2r.view.portrait import find_subject, make_portrait

    source = open_source(experiment)
    subject = find_subject(source, name)
    if output is None:
        output = f"{re.sub(r'[^0-9A-Za-z._@-]+', '-', subject.name).strip('.-') or 'show'}.html"
    target = Path(output)
    kind = target.suffix.lower()
    if kind not in (".html", ".png"):
        raise InputError(f"{output}: ends in {kind or 'nothing'!r}, expected .html or .png.")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{output}: no folder {target.parent}. Make it first.")
    confirm_overwriting(target, yes=yes)
    portrait = make_portrait(source, subject, channels=tuple(dict.fromkeys(channels)))
    if kind == ".html":
        from i2r.view.portrait_page import draw_page

        data = draw_page(source, portrait).encode()
    else:
        from i2r.view.portrait_picture import draw_picture

        data = draw_picture(portrait)
    files.write_bytes(files.normalise_url(str(target)), data)
    click.echo(f"{subject.kind} {subject.name}: {output}")
