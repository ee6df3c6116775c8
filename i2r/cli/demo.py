"""The command that shows all of i2r: a real plate screened, a simulated one taken to its genes."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from i2r.cli.options import running_options, say
from i2r.cli.run import run_and_tell

if TYPE_CHECKING:
    from i2r.pipeline.spec import Pipeline


def shared_folder() -> Path:
    """Find the pipelines and data that ship with i2r: in the wheel, or in the source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_share"
    return installed if installed.is_dir() else package.parent


@click.command()
@click.argument("directory", default="i2r-demo")
@running_options
def demo(directory: str, **options: Any) -> None:
    """Run everything on two plates, in a few minutes, and say what was found.

    DIRECTORY/plate: U2OS cells with wortmannin in five doses (BBBC013, 10.1038/nmeth.2083),
    screened by networks; this is 'i2r run pipelines/demo.yaml DIRECTORY/plate'.

    DIRECTORY/simulated: a screen with planted truth ('i2r simulate'), taken through every stage to
    the genes behind images, and compared with the truth; this is pipelines/smoke.yaml.
    """
    from i2r.pipeline.spec import load_pipeline

    plate, simulated = (os.path.join(directory, name) for name in ("plate", "simulated"))
    pipelines = shared_folder() / "pipelines"
    say(f"pipeline: {pipelines / 'demo.yaml'}")
    code = run_and_tell(load_pipeline(str(pipelines / "demo.yaml")), plate, **options)
    if code not in (0, 3):
        sys.exit(code)
    simulate_screen(simulated)
    say(f"pipeline: {pipelines / 'smoke.yaml'}")
    experiment = os.path.join(simulated, "experiment")
    smoke = load_smoke_pipeline(pipelines / "smoke.yaml", simulated)
    other = run_and_tell(smoke, experiment, **options)
    if other in (0, 3):
        conclude(plate, simulated, experiment)
    sys.exit(max(code, other))


def load_smoke_pipeline(path: Path, folder: str) -> "Pipeline":
    """Read the smoke pipeline, whose screen is in another folder than it says."""
    import yaml

    from i2r.pipeline.spec import parse_pipeline

    content = yaml.safe_load(path.read_text(encoding="utf-8").replace("../smoke/", ""))
    return parse_pipeline(content, where=f"pipeline {path}", folder=folder)


def simulate_screen(folder: str) -> None:
    """Simulate the smoke screen, where a run before this one did not."""
    from i2r.simulation import PRESETS, write_screen
    from i2r.store import files

    # Written last.
    if files.exists(os.path.join(folder, "pipeline.yaml")):
        return
    say(f"simulating a screen with planted truth in {folder}")
    write_screen(folder, PRESETS["smoke"], workers=len(os.sched_getaffinity(0)))


def conclude(plate: str, simulated: str, experiment: str) -> None:
    """Print what both plates show."""
    from i2r.simulation.recovery import describe_answer, describe_recovery, measure_recovery
    from i2r.store.experiment import open_experiment

    screened, chain = open_experiment(plate), open_experiment(experiment)
    genes, modules = (os.path.join(simulated, "truth", n) for n in ("genes.csv", "modules.csv"))
    found = measure_recovery(chain, genes, modules)
    click.echo("\nWhat the real plate shows")
    for title, what in (("screen-gfp", "the GFP reporter"), ("screen-dna", "chromatin")):
        click.echo(f"  {what}: {describe_screen(screened.table(title))}")
    click.echo("What the simulated screen shows, beside what was planted")
    for line in [*describe_recovery(found), describe_answer(chain)]:
        click.echo(f"  {line}")


def describe_screen(ranking: Any) -> str:
    """Say how far the best perturbation is told from the controls, beside draws of controls."""
    treated = ranking[ranking["kind"] != "control_draw"]
    best = treated.loc[treated["score"].idxmax()]
    drawn = ranking.loc[ranking["kind"] == "control_draw", "score"]
    above = int((treated["score"] > drawn.max()).sum())
    return (
        f"{best['condition']} is told from the controls best, with a score of {best['score']:.2f}; "
        f"{above} of {len(treated)} score above every draw of control wells (up to "
        f"{drawn.max():.2f})"
    )
