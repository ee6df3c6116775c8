"""The command that simulates a screen with planted truth."""

import os
from typing import Any

import rich_click as click


@click.command()
@click.argument("directory", type=click.Path())
@click.option(
    "--preset",
    type=click.Choice(["smoke", "screen", "jump"]),
    default="smoke",
    show_default=True,
    help="Sizes to start from; the options below replace single ones.",
)
@click.option("--genes", type=int, help="Genes in all, each in one well of every plate.")
@click.option(
    "--null-genes",
    type=int,
    help="How many of the genes do nothing (default: half of --genes, or the preset's).",
)
@click.option("--plates", type=int, help="Replicate plates.")
@click.option("--controls", type=int, help="Negative-control wells on every plate.")
@click.option("--fields", type=int, help="Fields of every well.")
@click.option("--field-px", type=int, help="Edge of a field in pixels of 0.65 um.")
@click.option(
    "--layout",
    type=click.Choice(["shuffled", "sister"]),
    help="A new layout on every plate, or one for all.",
)
@click.option("--drift", type=float, help="Differences between plates and positions; 0 for none.")
@click.option(
    "--effect",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SD",
    help="How far the planted genes move the feature that they move most, the median of them, in "
    "standard deviations of a control well: the unit of design. Measured on simulated wells first.",
)
@click.option("--strength", type=float, help="Factor on the planted effects, in place of --effect.")
@click.option(
    "--modules",
    type=int,
    help="Modules of the protein network, whose genes change nuclei alike; 0 for no network.",
)
@click.option(
    "--variation", type=float, help="How far a gene's effect is from its module's; 0 for not."
)
@click.option(
    "--nuclei",
    metavar="EXPERIMENT",
    help="Compose fields of nuclei of this experiment's negative controls (default: U2OS, "
    "BBBC039).",
)
@click.option(
    "--side",
    type=click.Choice(["images", "regulation"]),
    default="images",
    show_default=True,
    help="A screen of images with its network, or without images: a network with modules and "
    "perturbation embeddings that follow.",
)
@click.option(
    "--shuffle-link",
    is_flag=True,
    help="Deal what perturbations do to genes of the network at random: nothing links images to "
    "it then, and nothing can be found.",
)
@click.option("--seed", type=int, help="Decides everything that is random.")
@click.option("--workers", type=int, help="Processes (default: one per core).")
@click.option(
    "--join",
    metavar="EXPERIMENT",
    help="After a run: simulate nothing, put the truth of DIRECTORY and what EXPERIMENT found in "
    "one table, truth/found.csv.",
)
def simulate(
    directory: str,
    preset: str,
    workers: int | None,
    nuclei: str | None,
    side: str,
    shuffle_link: bool,
    join: str | None,
    effect: float | None,
    **options: Any,
) -> None:
    """Make a screen with planted effects in DIRECTORY, ready to run.

    Fields are composed of real nuclei (BBBC039, CC0, or of yours). Effects act on the nuclei's
    size, texture, spots, density, elongation and brightness; genes of one module of a protein
    network do nearly the same, and null genes do nothing. --effect 3 makes them as large as
    'i2r design --change 3' means. The network's interactions and
    expression are tables beside the images. truth/genes.csv says which gene does what, and how
    much, truth/modules.csv who belongs together. With --side regulation --genes are the genes
    with a perturbation.

    After the run, --join DIRECTORY/experiment writes truth/found.csv: a row per gene with what was
    planted, in standard deviations of control wells as 'i2r design' has it, and what the screen
    found.
    """
    if join is not None:
        _join(directory, join)
        return
    from i2r.simulation import PRESETS, write_screen
    from i2r.simulation.samples import sample_nuclei

    given = {name: value for name, value in options.items() if value is not None}
    if effect is not None and "strength" in given:
        raise click.UsageError("--effect and --strength say the same. Give one of them.")
    if side == "regulation":
        if nuclei:
            raise click.UsageError("--nuclei is an option of --side images.")
        if effect is not None:
            raise click.UsageError("--effect is an option of --side images.")
        _simulate_regulation(directory, given, shuffle_link=shuffle_link)
        return
    if "genes" in given:
        given.setdefault("null_genes", given["genes"] // 2)
    design = PRESETS[preset]._replace(**given, linked=not shuffle_link)
    if "modules" not in given:
        # Fewer genes make fewer modules, of two genes at least.
        most = max(0, design.genes - design.null_genes) // 2
        design = design._replace(modules=min(design.modules, most) if most > 1 else 0)
    workers = workers or len(os.sched_getaffinity(0))
    sampled = sample_nuclei(nuclei, seed=design.seed) if nuclei else None
    if effect is not None:
        from i2r.design.planted import find_strength

        strength = find_strength(design, effect, nuclei=sampled, workers=workers)
        design = design._replace(strength=strength)
        click.echo(f"--effect {effect:g}: that is --strength {strength:g} with these wells")
    genes = write_screen(directory, design, workers=workers, nuclei=sampled)
    n_wells = design.plates * (design.genes + design.n_controls)
    modules = f" in {design.modules} modules" if design.modules else ""
    click.echo(
        f"{directory}: {design.plates} plates, {n_wells} wells, {n_wells * design.fields} fields, "
        f"{int((~genes['is_null']).sum())} of {design.genes} genes with an effect{modules}\n"
        f"i2r run {directory}/pipeline.yaml {directory}/experiment\n"
        f"i2r simulate {directory} --join {directory}/experiment    # afterwards"
    )


def _join(directory: str, experiment: str) -> None:
    """Write truth and result side by side, and say what was called."""
    from i2r.simulation.truth import describe_truth, join_truth
    from i2r.store import files
    from i2r.store.experiment import open_experiment

    truth = files.join_url(files.normalise_url(directory), "truth")
    joined = join_truth(open_experiment(experiment), files.join_url(truth, "genes.csv"))
    target = files.join_url(truth, "found.csv")
    files.write_bytes(target, joined.to_csv(index=False).encode())
    for line in describe_truth(joined):
        click.echo(line)
    click.echo(f"truth and result, a row per gene: {target}")


def _simulate_regulation(directory: str, given: dict[str, Any], *, shuffle_link: bool) -> None:
    """Write the regulation side; options of images are refused."""
    from i2r.simulation import RegulationDesign, write_regulation

    wrong = sorted(set(given) - {"genes", "seed"})
    if wrong:
        raise click.UsageError(f"--{wrong[0].replace('_', '-')} is an option of --side images.")
    named = {"perturbed": given["genes"]} if "genes" in given else {}
    design = RegulationDesign(**named, seed=given.get("seed", 0), linked=not shuffle_link)
    genes = write_regulation(directory, design)
    click.echo(
        f"{directory}: {len(genes)} genes in {genes['module'].nunique()} modules, "
        f"{int(genes['perturbed'].sum())} perturbed\n"
        f"i2r run {directory}/pipeline.yaml {directory}/experiment"
    )
