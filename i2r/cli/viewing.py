"""The command that opens an experiment for looking at it: view."""

import rich_click as click

from i2r.errors import InputError


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
    measured of it and the nuclei most like it. Every view has an address of its own, to be kept
    or sent to somebody on this machine.

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
