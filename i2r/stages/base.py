"""What a stage is: a configuration, its units of work, and how to build one of them."""

import importlib
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from i2r.errors import InputError, find_meant
from i2r.extensions import find_points
from i2r.stages import list_stage_files
from i2r.stages.outputs import Output
from i2r.store.catalog import list_texts
from i2r.store.experiment import Experiment
from i2r.store.files import join_url

if TYPE_CHECKING:
    from dask.delayed import Delayed

WorkerKind = Literal["cpu", "gpu"]
FINISH = "*"
WHOLE = "experiment"
# Attributes under their names of before 0.2, which stages of other packages may define.
EARLIER_NAMES = {
    "reads": "upstream_verbs", "wanted": "chosen_upstream", "used_keys": "upstream_keys",
    "keys_for": "downstream_keys", "inputs": "fingerprint_inputs", "outside": "external_files",
    "execution_only": "not_fingerprinted", "needed": "upstream_title",
}  # fmt: skip


class Survey(NamedTuple):
    """What a stage that brings images in found: wells, image files, and what it left out."""

    layout: pd.DataFrame
    sources: pd.DataFrame
    notes: tuple[str, ...] = ()


class Stage(BaseModel):
    """One step of a pipeline. The configuration is the stage: its fields are the options.

    A subclass is found by its module's path (``i2r/stages/<verb>.py``) or by the entry point
    group ``i2r.stages``. It sets ``stage`` to its verb and defines `build`; everything else has
    a default. Results must not depend on anything but the configuration, the seed and the
    inputs that `fingerprint` covers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str = Field(description="The verb")
    name: str = Field(
        "", description="Name in the pipeline, for tables and folders (default: the verb)"
    )
    needs: tuple[str, ...] = Field(
        (), description="Names of the stages it reads (default: the nearest earlier ones)"
    )
    threads: int = Field(1, ge=1, description="Threads per unit; results may depend on it")

    # Verbs of the stages it needs, by name, as the pipeline resolved them.
    _verbs: Mapping[str, str] = PrivateAttr(default_factory=dict)

    # Raised when the same configuration gives other results than before.
    version: ClassVar[int] = 1
    group: ClassVar[WorkerKind] = "cpu"
    # Verbs whose output it reads; True where it can't do without.
    upstream_verbs: ClassVar[Mapping[str, bool]] = {}
    # Fields that change how a unit is computed but not its result.
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset()
    # Fields that came later: at their default they leave earlier results current.
    added_later: ClassVar[tuple[str, ...]] = ()
    # What it writes: tables with their columns, and other files.
    outputs: ClassVar[tuple[Output, ...]] = ()
    # Settings as fingerprints hold them, in order: what this stage has no option for counts so.
    settled: ClassVar[dict[str, object]] = {}
    # Columns of the layout that its results depend on, besides which wells and fields there are.
    layout_columns: ClassVar[tuple[str, ...]] = ()
    # False where its results don't depend on wells at all: networks, genes, maps between spaces.
    uses_layout: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for earlier, name in EARLIER_NAMES.items():
            if earlier in cls.__dict__:
                setattr(cls, name, cls.__dict__[earlier])

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        # A name becomes a folder of the experiment.
        if value:
            try:
                join_url("", value)
            except InputError as error:
                raise ValueError(str(error)) from error
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"found {value!r}, expected text: half of a character is none")
        if "/" in value or "*" in value:
            raise ValueError("a stage's name can't hold '/' or '*'")
        return value

    @classmethod
    def choose(cls, values: Mapping[str, Any]) -> "type[Stage]":
        """Give the class that has these options; see `i2r.stages.methods`."""
        return cls

    @property
    def title(self) -> str:
        """The name, or the verb where none was given."""
        return self.name or self.stage

    def with_needs(self, needs: Sequence[str], verbs: Mapping[str, str]) -> Self:
        """Give a copy that needs these stages, whose verbs are known."""
        copy = self.model_copy(update={"needs": tuple(needs)})
        copy._verbs = {name: verbs[name] for name in needs if name in verbs}
        return copy

    def upstream_title(self, *verbs: str) -> str:
        """Name the last stage it needs that is of one of these verbs; empty for none.

        A stage that no pipeline resolved takes names for verbs.
        """
        of_verb = [name for name in self.needs if self._verbs.get(name, name) in verbs]
        return of_verb[-1] if of_verb else ""

    def list_lacking(self, *verbs: str) -> list[str]:
        """Say which of these verbs are missing among the stages it needs, one line each.

        Nothing where it names none: the pipeline says so then.
        """
        return [
            f"stage {self.title!r}: needs {', '.join(self.needs)}, expected a "
            f"{verb!r} stage among them. Add its name to 'needs', or leave 'needs' out."
            for verb in verbs
            if self.needs and not self.upstream_title(verb)
        ]

    def list_missing_channels(
        self, experiment: Experiment, channels: Sequence[str], *, option: str = "channels"
    ) -> list[str]:
        """Say which plates lack which of these channels, one line each."""
        return [
            f"stage {self.title!r}: plate {plate.name!r} has no channel {channel!r}, found "
            f"{', '.join(plate.channels)}. Set {option!r}."
            for plate in experiment.plates.values()
            for channel in channels
            if channel not in plate.channels
        ]

    @property
    def chosen_upstream(self) -> Mapping[str, bool]:
        """Verbs whose output this configuration reads; True where it can't do without."""
        return self.upstream_verbs

    @property
    def worker_group(self) -> WorkerKind:
        """The workers it wants: a property of the configuration."""
        return self.group

    @property
    def needs_torch(self) -> bool:
        """Whether it trains or applies a network, for which PyTorch must be installed."""
        return self.worker_group == "gpu"

    def keys(self, experiment: Experiment) -> Sequence[str]:
        """List the units of work; cheap, without side effects. Default: one per well."""
        return experiment.well_keys

    def begin(self, experiment: Experiment, keys: Sequence[str]) -> None:
        """Do once per run what its units share, before any of them; under the experiment's lock.

        Parameters
        ----------
        experiment
            Where it may write.
        keys
            The units that this run computes, at least one.
        """

    def build(self, experiment: Experiment, key: str) -> "Delayed":
        """Make one unit's lazy task graph, which writes its own output.

        Its value is a mapping with any of the names of `i2r.store.unit_result.UnitResult`, which
        the rest of i2r reads; the ledger keeps other names too. Running it twice is harmless.
        """
        raise TypeError(f"stage {self.stage!r} does not say how to build a unit")

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> "Delayed | None":
        """Make the last unit, run after all others: merged tables, reductions; None for none."""
        return None

    def has_finish(self) -> bool:
        """Tell whether the stage has a last unit."""
        return type(self).finish is not Stage.finish

    def upstream_keys(
        self, experiment: Experiment, key: str, upstream: "Stage"
    ) -> Sequence[str] | None:
        """List the units of an upstream stage that this unit reads, and waits for.

        It depends on the layout and the options alone. None means: the same key where the upstream
        stage has it, otherwise everything. Default: what `downstream_keys` of the
        upstream stage says.
        """
        return upstream.downstream_keys(experiment, key)

    def downstream_keys(self, experiment: Experiment, key: str) -> Sequence[str] | None:
        """List the units of this stage that a unit of a later stage reads; None as above.

        For stages whose units are larger than wells, so that a well depends on its own plate.
        """
        return None

    def follows(self, experiment: Experiment, key: str) -> Sequence[str]:
        """List the units of this same stage that a unit reads: it runs after them.

        They come before it in `keys`; it goes on with those that are done. A unit that reads
        nothing of other stages says so in `upstream_keys`, with an empty list. Default: none.
        """
        return ()

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe what a unit reads besides other stages' output, as plain JSON values.

        Default: the fields of its well and their shapes, and for units that are not wells the
        `layout_columns` of the whole layout; and `external_files`.
        """
        if key in experiment.wells:
            plate, _ = experiment.locate(key)
            well = [experiment.wells.fields(key), *plate.described]
            return [*well, self.external_files(experiment)]
        return [self.whole_layout(experiment), self.external_files(experiment)]

    def external_files(self, experiment: Experiment) -> object:
        """Describe what its units read besides layout, source table and other stages' output.

        Files and packages, of all units together, as plain JSON values: while they are the same,
        so are all `fingerprint_inputs`. A stage that defines its own should say so here, or every
        unit has to be asked for them whenever someone wants to know what is out of date.
        """
        return None

    def whole_layout(self, experiment: Experiment) -> object:
        """Give the wells, and of each the `layout_columns`, as plain JSON values."""
        if not self.uses_layout:
            return []
        if not self.layout_columns:
            return [[well.plate, well.well] for well in experiment.wells.values()]
        return list_texts(experiment.layout_by_key, ["plate", "well", *self.layout_columns])

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Bound a unit's memory from above, in bytes; compared with a worker's before a run."""
        return 2**28

    def finish_peak_bytes(self, experiment: Experiment) -> int:
        """Bound the memory of the last unit from above, likewise.

        Default: tables that are merged part by part, whatever their number.
        """
        return 3 * 2**26

    def bytes_in(self, experiment: Experiment, key: str) -> int:
        """Estimate the bytes a unit reads, for the plan. Default: a well's pixels."""
        return experiment.well_bytes(key) if key in experiment.wells else 0

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """Estimate the bytes a unit writes, for the plan."""
        return 0

    def survey(self) -> Survey | None:
        """Describe the images that this stage brings in; None for stages that bring none."""
        return None

    @classmethod
    def may_survey(cls) -> bool:
        """Tell whether it can bring in wells."""
        return cls.survey is not Stage.survey

    @classmethod
    def may_begin(cls) -> bool:
        """Tell whether an experiment can begin with it: it brings in all that it reads."""
        return cls.may_survey() or not (
            any(cls.upstream_verbs.values()) or "*" in cls.upstream_verbs
        )

    def replaces(self, experiment: Experiment, key: str) -> list[tuple[str, str]]:
        """List the units whose output is gone or out of place once this unit begins.

        Stage and key of each. They stop being done, in the ledger, before the unit starts. Default:
        the stage's own last unit, whose merged tables hold this unit's earlier part. A stage that
        deletes more than its own earlier output says so here.
        """
        return [] if key == FINISH else [(self.title, FINISH)]

    def merges(self, experiment: Experiment, keys: Sequence[str]) -> dict[str, list[str]]:
        """Say which parts of this stage's table make which merged file: one per plate."""
        found: dict[str, list[str]] = {
            experiment.table_url(self.title, plate): [] for plate in experiment.plates
        }
        for key in keys:
            plate = experiment.wells[key].plate
            found[experiment.table_url(self.title, plate)].append(
                experiment.part_url(self.title, key)
            )
        return {url: parts for url, parts in found.items() if parts}

    def check(self, experiment: Experiment) -> list[str]:
        """List what makes the stage impossible for the whole experiment, one line each."""
        return []

    def notes(self, experiment: Experiment) -> list[str]:
        """List what a user should know before the stage runs, one line each."""
        return []

    def version_of(self, key: str) -> int:
        """Give the version of what makes a unit; a method that did not change keeps its own."""
        return type(self).version

    def settings_of(self, key: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Give the settings that decide one unit's result; default: all of them."""
        return settings

    def fingerprint(self, experiment: Experiment, key: str, upstream: Mapping[str, str]) -> str:
        """Identify a unit's inputs: what differs gives another result.

        Parameters
        ----------
        experiment, key
            The unit.
        upstream
            Fingerprints of the upstream units used, by ``name:key``.
        """
        defaults = {
            name
            for name in self.added_later
            if getattr(self, name) == type(self).model_fields[name].default
        }
        settings = self.settled | self.model_dump(
            mode="json", exclude=set(self.not_fingerprinted) | {"name", "needs"} | defaults
        )
        settings = self.settings_of(key, settings)
        last = key == FINISH
        inputs = self.whole_layout(experiment) if last else self.fingerprint_inputs(experiment, key)
        content = [self.version_of(key), settings, inputs, sorted(upstream.items())]
        return sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:32]


for _earlier, _name in EARLIER_NAMES.items():
    setattr(Stage, _earlier, getattr(Stage, _name))  # stages of others call them on `super()`


def seed_sequence(seed: int, stage_name: str, key: str) -> np.random.SeedSequence:
    """Make a unit's own random stream, the same for any number of workers and any order."""
    digest = sha256(f"{stage_name}/{key}".encode()).digest()[:16]
    return np.random.SeedSequence(seed, spawn_key=tuple(np.frombuffer(digest, np.uint32).tolist()))


def list_verbs() -> list[str]:
    """List the verbs of all stages, without importing any of them."""
    installed = (point.name for point in find_points("i2r.stages"))
    return sorted([*list_own_verbs(), *installed])


def list_own_verbs() -> list[str]:
    """List the verbs of the stages that ship with i2r, whatever else is installed."""
    return sorted(list_stage_files())


def find_stage(verb: str) -> type[Stage]:
    """Find a stage's class by its verb.

    Raises
    ------
    InputError
        If there is no such stage.
    """
    for point in find_points("i2r.stages"):
        if point.name == verb:
            found: type[Stage] = point.load()
            return found
    if verb not in list_verbs():
        meant = find_meant(verb, list_verbs())
        hint = f"; did you mean {meant!r}?" if meant else "."
        raise InputError(f"stage {verb!r}: unknown{hint} There are: {', '.join(list_verbs())}.")
    module = importlib.import_module(f"i2r.stages.{verb}")
    classes: list[type[Stage]] = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Stage)
        and value.__module__.startswith(module.__name__)
        and value.model_fields["stage"].default == verb
    ]
    if classes:
        # Of a class for all methods and those of each of them the first.
        return min(classes, key=lambda kind: len(kind.__mro__))
    raise InputError(
        f"stage {verb!r}: {module.__name__} defines no class with stage={verb!r}. Add it."
    )
