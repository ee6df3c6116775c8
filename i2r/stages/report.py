"""Put what was found into one HTML file."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.stages.base import WHOLE, Stage
from i2r.stages.outputs import Output
from i2r.stages.written.regulation import REPORT
from i2r.store import files
from i2r.store.experiment import Experiment, open_experiment


class Report(Stage):
    """Write report.html: one self-contained file, to be opened in any browser.

    It shows what the earlier stages of the pipeline left in the experiment: counts and warnings,
    plate maps, nuclei, segmentation, rankings, accounting, timings and provenance. Its figures
    and tables are also files, SVG, PNG and CSV, in the folder ``report`` beside it, with the
    numbers behind every figure.
    """

    stage: Literal["report"] = "report"
    heading: str = Field("", description="Title of the report (default: the experiment's name)")
    gallery_nuclei: int = Field(8, ge=1, le=24, description="Nuclei shown per condition")

    outputs: ClassVar[tuple[Output, ...]] = REPORT
    upstream_verbs: ClassVar[Mapping[str, bool]] = {"*": False}
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "dose", "role")

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit: the whole experiment."""
        return [WHOLE]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Draw the report of the stages that this one needs."""
        return delayed(write_report)(
            experiment.url, list(self.needs), heading=self.heading,
            gallery_nuclei=self.gallery_nuclei,
        )  # fmt: skip

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Some fields at full size, a few hundred crops, and the page itself."""
        fields = [plate.field_bytes() for plate in experiment.plates.values()]
        return 8 * max(fields, default=0) + 2**29


def write_report(
    url: str, stages: Sequence[str], *, heading: str, gallery_nuclei: int
) -> dict[str, Any]:
    """Draw and write the report of an experiment.

    Parameters
    ----------
    url
        The experiment.
    stages
        Names of the stages to report on.
    heading, gallery_nuclei
        As the stage's options.

    Raises
    ------
    RuntimeError
        If a section could not be drawn; the report is written all the same, without it.
    """
    from i2r.report.figures import list_files
    from i2r.report.page import make_page  # pictures and templates take 0.5 s to import
    from i2r.report.source import ReportSource

    experiment = open_experiment(url)
    page = make_page(
        ReportSource(experiment, stages, gallery_nuclei=gallery_nuclei), heading=heading
    )
    target = experiment.path("report.html")
    written = files.write_bytes(target, page.content.encode())
    files.remove_tree(experiment.url, "report")
    for file in list_files(page.sections, page.tables):
        written += files.write_bytes(experiment.path("report", file.path), file.data)
    for section, error in page.problems.items():
        raise RuntimeError(
            f"report section {section!r}: {type(error).__name__}: {error}. The rest of the report "
            f"is in {files.without_secrets(target)}."
        ) from error
    return {"bytes_out": written}
