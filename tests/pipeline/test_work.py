"""What a worker does with a bundle: each unit apart, with its own share of threads."""

import errno
import os
import pickle
import subprocess
import sys

import pytest
from dask import delayed

from i2r.errors import DiskFullError, FieldError, I2RError, InputError
from i2r.pipeline.work import Outcome, Work, describe_failure, run_units


def fail(error: Exception) -> None:
    raise error


def work(*graphs: object, threads: int = 1) -> list[Work]:
    return [Work(str(n), graph, threads) for n, graph in enumerate(graphs)]  # type: ignore[arg-type]


def test_every_unit_of_a_bundle_has_its_own_end() -> None:
    good, bad, nothing = (
        delayed(dict)(fields=2),
        delayed(fail)(ValueError("no")),
        delayed(type(None))(),
    )
    outcomes = run_units(work(good, bad, nothing), "cpu-0")
    assert [o.result for o in outcomes] == [{"fields": 2}, {}, {}]
    assert [o.error for o in outcomes] == ["", "ValueError: no", ""]
    assert {o.worker for o in outcomes} == {"cpu-0"}
    assert "in fail" in outcomes[1].traceback
    assert all(o.seconds > 0 for o in outcomes)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), DiskFullError("no space left")]
)
def test_a_full_disk_stops_the_rest_of_the_bundle(error: Exception) -> None:
    ran = []
    outcomes = run_units(work(delayed(fail)(error), delayed(ran.append)(1)))
    assert [o.disk_full for o in outcomes] == [True, True]
    assert ran == []


@pytest.mark.parametrize(
    ("error", "final", "has_traceback"),
    [(I2RError("x"), True, False), (InputError("x"), True, False), (FieldError("x"), True, False), (ValueError(), False, True), (DiskFullError("x"), False, False)],
)  # fmt: skip
def test_a_users_error_is_final_and_a_bug_has_a_traceback(
    error: Exception, final: bool, has_traceback: bool
) -> None:
    outcome = describe_failure(error)
    assert (outcome.final, bool(outcome.traceback)) == (final, has_traceback)
    assert outcome.error
    assert pickle.loads(pickle.dumps(outcome)) == outcome


@pytest.mark.parametrize("kind", [I2RError, InputError, FieldError, DiskFullError])
def test_errors_survive_the_way_between_workers(kind: type[I2RError]) -> None:
    again = pickle.loads(pickle.dumps(kind("plate 'P1': one line.")))
    assert type(again) is kind
    assert str(again) == "plate 'P1': one line."


def test_an_interrupt_is_no_failure_of_the_unit() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_units(work(delayed(fail)(KeyboardInterrupt())))


CHILD = """
import os, sys
from dask import delayed
from i2r.pipeline.work import Work, run_units
def count():
    import torch
    return {"threads": torch.get_num_threads()}
before = dict(os.environ)
numbers = [run_units([Work("u", delayed(count)(), n)])[0].result["threads"] for n in (int(sys.argv[1]), 1, 2)]
assert os.environ == before
print(numbers)
"""


@pytest.mark.parametrize("of_worker", [{}, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}])
@pytest.mark.parametrize("threads", [1, 2])
def test_torch_has_the_units_threads_even_if_the_unit_imports_it(
    threads: int, of_worker: dict[str, str]
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment |= of_worker
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(threads)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.strip() == str([threads, 1, 2])


def test_an_outcome_without_error_is_good() -> None:
    assert not Outcome().error
