"""An experiment that a run may be writing: opened anew when its ledger has grown."""

import time
from collections.abc import Callable
from threading import Lock

from i2r.report.source import ReportSource
from i2r.store import files
from i2r.store.experiment import Experiment, open_experiment

# The ledger is looked at this often at most.
LOOK_S = 1.0


class LiveExperiment:
    """Gives the experiment as its ledger has it now; safe to use from several threads.

    Parameters
    ----------
    url
        The experiment.
    clock
        Gives seconds; only tests have another.

    Raises
    ------
    InputError
        If there is none.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = Lock()
        self._seen = self._look(open_experiment(url))
        self._looked_at = clock()
        self._source = self._open()
        self.version = 1

    def source(self) -> ReportSource:
        """Give what is done by now; the same object as long as nothing was added."""
        with self._lock:
            if self._clock() - self._looked_at >= LOOK_S:
                self._looked_at = self._clock()
                seen = self._look(self._source.experiment)
                if seen != self._seen:
                    self._source = self._open()
                    self._seen = seen
                    self.version += 1
            return self._source

    def _look(self, experiment: Experiment) -> list[tuple[str, int]]:
        """Give names and sizes of the ledger's files."""
        folder = experiment.path("ledger")
        found = []
        for name in files.list_folder(folder):
            try:
                found.append((name, files.stat(files.join_url(folder, name)).size_bytes))
            except FileNotFoundError:  # folded into the state just now
                continue
        return sorted(found)

    def _open(self) -> ReportSource:
        source = open_source(self._url)
        ledger = source.experiment.ledger
        # Entries are read when a stage is first asked for, which two threads must not do at once.
        for stage in ledger.stages:
            ledger.done_keys(stage)
        return source


def open_source(url: str) -> ReportSource:
    """Open an experiment with all stages of its last pipeline, done or not.

    Raises
    ------
    InputError
        If there is none.
    """
    experiment = open_experiment(url)
    pipeline = experiment.last_pipeline() or {}
    named = [s.get("name") or s["stage"] for s in pipeline.get("stages", [])]
    titles = dict.fromkeys([*named, *experiment.ledger.stages])
    return ReportSource(experiment, list(titles))
