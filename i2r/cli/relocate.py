"""The command for source images that were moved: relocate."""

import rich_click as click

from i2r.cli.options import say


@click.command()
@click.argument("experiment", type=click.Path())
@click.argument("folder", type=click.Path())
def relocate(experiment: str, folder: str) -> None:
    r"""Take EXPERIMENT's source images from FOLDER, where they were moved, and redo nothing.

    Every file is looked for below FOLDER under its recorded path, or the end of it, and compared
    with the one that was converted, by size and SHA-256 (of OME-Zarr plates: of the planes). If
    one is missing or differs, nothing is changed. Then set 'source' in the pipeline to the new
    place.

    Example: i2r relocate screen/experiment /archive/2024/screen
    """
    from i2r.pipeline.relocation import relocate_sources
    from i2r.store.experiment import open_experiment
    from i2r.store.lock import RunLock

    opened = open_experiment(experiment)
    with RunLock(opened.url, command="i2r relocate"):
        moved = relocate_sources(opened, folder)
    by_size = moved.files - moved.hashed
    compared = f"{moved.hashed} by SHA-256" + (f", {by_size} by size" if by_size else "")
    say(f"{moved.files} files, {moved.size_bytes / 2**20:.1f} MiB, are the same ({compared})")
    click.echo(f"sources -> {folder}. Set 'source' in the pipeline to it.")
