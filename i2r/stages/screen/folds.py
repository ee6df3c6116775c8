"""What screens with networks share: a unit per condition and fold, on crops."""

from collections.abc import Sequence
from statistics import median

from pydantic import Field

from i2r.analysis.screen.condition_tests import TestedWells
from i2r.analysis.screen.contrasts import list_copied
from i2r.analysis.screen.held_out import Contrast
from i2r.stages.base import FINISH, Stage
from i2r.stages.screen.options import Screen
from i2r.stages.screen.plan import list_counted
from i2r.store.experiment import Experiment
from i2r.store.pools import count_crops


class FoldScreen(Screen):
    """A network for every condition and fold, trained on crops."""

    channels: tuple[str, ...] = Field(("DNA",), description="Channels that the network sees")

    @property
    def source(self) -> str:
        """Name the stage that cut the crops."""
        return self.upstream_title("crop")

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse channels that are not there, and what no screen can do without."""
        missing = self.list_missing_channels(experiment, self.channels)
        return missing + super().check(experiment)

    def count_wells(self, experiment: Experiment) -> TestedWells:
        """List the wells with their numbers of nuclei."""
        contrasts = self.contrasts(experiment).values()
        return list_counted(experiment, self.source, self.needs, contrasts)

    def version_of(self, key: str) -> int:
        """Networks train as before version 5; only the ranking at the end has changed."""
        return type(self).version if key == FINISH else 4

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit per condition and fold."""
        return [
            f"{contrast.condition}/{fold}"
            for contrast in self.contrasts(experiment).values()
            for fold in range(contrast.n_folds)
        ]

    def find_contrast(self, experiment: Experiment, key: str) -> Contrast:
        """Give the comparison that a unit is a fold of."""
        return self.contrasts(experiment)[key.rpartition("/")[0]]

    def upstream_keys(self, experiment: Experiment, key: str, upstream: Stage) -> Sequence[str]:
        """The wells of the perturbation and its controls; for draws those that they copy too.

        The last unit alone asks how sharp fields are.
        """
        if upstream.title == self.upstream_title("quality"):
            return ()
        contrast = self.find_contrast(experiment, key)
        copied = list_copied(self.contrasts(experiment).values(), contrast)
        return tuple(dict.fromkeys([*contrast.keys, *copied]))

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe which wells are compared and how they are folded."""
        contrast = self.find_contrast(experiment, key)
        compared = [contrast.keys, contrast.fields, contrast.is_treated, contrast.folds]
        return [*compared, self.external_files(experiment)]

    def external_files(self, experiment: Experiment) -> object:
        """Nothing: networks start from random weights."""
        return []

    def limit_nuclei(
        self, experiment: Experiment, draw: Contrast, *, by_field: bool
    ) -> dict[str, int]:
        """Give by plate how many nuclei the wells, or fields, that a draw copies typically have."""
        counts: dict[str, list[float]] = {}
        for key in list_copied(self.contrasts(experiment).values(), draw):
            n_pieces = experiment.n_fields(key) if by_field else 1
            found = count_crops(experiment, self.source, key) / n_pieces
            counts.setdefault(experiment.wells[key].plate, []).append(found)
        return {plate: max(1, round(median(found))) for plate, found in counts.items()}

    def name_parts(self, experiment: Experiment, key: str) -> dict[str, str]:
        """Give the URLs of the tables that a unit writes."""
        return {
            name: experiment.part_url(f"{self.title}{name}", key) for name in ("-scores", "-calls")
        }

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Crops of the wells compared, at most 2,000 each, and torch."""
        wells = set(self.find_contrast(experiment, key).keys)
        return len(wells) * 2000 * len(self.channels) * 64 * 64 * 4 + 2**29

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """About 150 nuclei in every field."""
        wells = set(self.find_contrast(experiment, key).keys)
        fields = sum(experiment.n_fields(well) for well in wells)
        return fields * 150 * len(self.channels) * 64 * 64
