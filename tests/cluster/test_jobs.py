"""Job scripts as text: what a batch system would be given, without one."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.cluster import JobClusterSpec, load_cluster
from i2r.cluster.jobs import make_workers, render_scripts
from i2r.errors import InputError

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")

FOLDER = Path(__file__).parents[2] / "cluster"
EXPORTS = """export OMP_NUM_THREADS=2
export OPENBLAS_NUM_THREADS=2
export MKL_NUM_THREADS=2
export NUMEXPR_NUM_THREADS=2
export BLOSC_NTHREADS=2
export NUMBA_NUM_THREADS=2
export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=1s
export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=2s
export DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL=100ms
export DASK_LOGGING__DISTRIBUTED=error
export DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION=6120s
export DASK_DISTRIBUTED__WORKER__LIFETIME__STAGGER=360s
export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=0.8
export DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE=0.95
export DASK_WORKER_MEMORY_PAUSE=0.8
export DASK_WORKER_MEMORY_TERMINATE=0.95
module load cuda
"""
PBS_CPU = f"""#!/usr/bin/env bash

#PBS -N i2r-cpu
#PBS -q workq
#PBS -A lab
#PBS -l select=1:ncpus=4:mem=16GB
#PBS -l walltime=02:00:00
#PBS -m n
{EXPORTS}/opt/python -m distributed.cli.dask_worker tcp://head:8786 --name cpu-0 --nthreads 2 \
--memory-limit 8.00GiB --nworkers 2 --nanny --death-timeout 300 --local-directory /scratch \
--resources CPU=2,GPU=0 --preload i2r.cluster.worker_setup --no-dashboard
"""
PBS_GPU = f"""#!/usr/bin/env bash

#PBS -N i2r-gpu
#PBS -q gpuq
#PBS -l select=1:ncpus=2:ngpus=1:mem=8gb
#PBS -l walltime=02:00:00
{EXPORTS}/opt/python -m distributed.cli.dask_worker tcp://head:8786 --name gpu-0 --nthreads 2 \
--memory-limit 8.00GiB --nanny --death-timeout 300 \
--resources CPU=0,GPU=1 --preload i2r.cluster.worker_setup --no-dashboard
"""


def pbs_file(folder: Path) -> Path:
    path = folder / "pbs.yaml"
    path.write_text(
        """
type: pbs
cpu:
  jobs: 2
  cores: 4
  processes: 2
  memory: 16GiB
  walltime: "02:00:00"
  queue: workq
  account: lab
  local_directory: /scratch
  python: /opt/python
  job_extra_directives: ["-m n"]
  job_script_prologue: ["module load cuda"]
gpu:
  jobs: 1
  cores: 2
  memory: 8GiB
  walltime: "02:00:00"
  queue: gpuq
  python: /opt/python
  worker_command: distributed.cli.dask_worker
  resource_spec: select=1:ncpus=2:ngpus=1:mem=8gb
  job_script_prologue: ["module load cuda"]
scheduler_options: {host: head, port: 8786}
"""
    )
    return path


def render(path: Path) -> dict[str, str]:
    spec = load_cluster(str(path))
    assert isinstance(spec, JobClusterSpec)
    return render_scripts(spec)


def test_pbs_scripts_are_these(tmp_path: Path) -> None:
    assert render(pbs_file(tmp_path)) == {"cpu": PBS_CPU, "gpu": PBS_GPU}


def test_the_command_prints_the_scripts_and_submits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no qsub here
    done = CliRunner().invoke(i2r, ["cluster", "script", str(pbs_file(tmp_path))])
    assert done.exit_code == 0, done.output
    assert done.output == f"# cpu: 2 jobs of\n{PBS_CPU}\n# gpu: 1 jobs of\n{PBS_GPU}\n"


def test_slurm_jobs_ask_for_a_card_and_workers_for_theirs() -> None:
    scripts = render(FOLDER / "slurm-test.yaml")
    assert "#SBATCH --gres=gpu:1" in scripts["gpu"]
    assert "--gres" not in scripts["cpu"]
    assert "--resources CPU=0,GPU=1" in scripts["gpu"]
    assert "--resources CPU=1,GPU=0" in scripts["cpu"]
    assert sys.executable in scripts["cpu"]


def test_a_gpu_job_starts_dask_cudas_worker_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dask_cuda.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    scripts = render(FOLDER / "slurm.yaml")
    assert "-m dask cuda worker tcp://" in scripts["gpu"]
    assert "-m distributed.cli.dask_worker tcp://" in scripts["cpu"]
    # dask-cuda's command line has no option for it.
    assert "--lifetime" not in scripts["gpu"]
    assert "LIFETIME__DURATION=24480s" in scripts["gpu"]


def test_ctrl_c_stays_what_it_was_with_dask_jobqueue() -> None:
    """In a process of its own: the package takes Ctrl-C for itself once, when it is imported."""
    script = textwrap.dedent(f"""
        import signal
        from i2r.cluster import load_cluster
        from i2r.cluster.jobs import find_job_class
        find_job_class(load_cluster({str(FOLDER / "slurm.yaml")!r}))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """)
    subprocess.run([sys.executable, "-c", script], check=True)


def test_workers_end_before_their_job_does() -> None:
    from i2r.cluster.jobs import LIFETIME, STAGGER

    assert LIFETIME + STAGGER <= 0.9


def test_a_job_of_several_workers_names_them() -> None:
    spec = load_cluster(str(FOLDER / "slurm.yaml"))
    assert isinstance(spec, JobClusterSpec)
    workers = make_workers(spec)
    assert sorted(workers) == ["cpu-0", "cpu-1", "cpu-2", "cpu-3", "gpu-0"]
    assert workers["cpu-0"]["group"] == [f"-{index}" for index in range(8)]


def test_certificates_go_into_the_job_script(tmp_path: Path) -> None:
    path = tmp_path / "tls.yaml"
    path.write_text(
        "type: slurm\nsecurity: {tls_ca_file: ca.pem, tls_worker_cert: w.pem, "
        "tls_worker_key: w.key, require_encryption: true}"
    )
    script = render(path)["cpu"]
    assert "tls://" in script
    assert "--tls-ca-file ca.pem --tls-cert w.pem --tls-key w.key" in script


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: slurm\ncpu: {jobs: 0}", "no jobs at all"),
        ("type: slurm\ncpu: {cores: 3, processes: 2}", "can't share 3 cores"),
        ("type: slurm\ncpu: {walltime: long}", "expected HH:MM:SS"),
        ("type: slurm\ncpu: {walltime: '00:01:00'}", "no time to end in"),
        ("type: slurm\ncpu: {n_workers: 2}", "cpu.n_workers"),
        ("type: slurm\ncpu: {resource_spec: x}", "no field of slurm jobs"),
        ("type: pbs\ncpu: {job_mem: 3GB}", "no field of pbs jobs"),
        ("type: slurm\nsecurity: 3", "security"),
    ],
)
def test_a_jobs_file_says_where_it_is_wrong(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_cluster(str(path))
    (line,) = str(error.value).splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("01:30:00", 5400), ("1-00:00:00", 86400), ("30:00", 1800), ("00:05:00", 300)],
)
def test_walltimes_are_read_as_the_batch_systems_do(text: str, seconds: int) -> None:
    from i2r.cluster import JobGroup

    assert JobGroup(walltime=text).walltime_s == seconds


def test_without_the_batch_systems_commands_the_way_to_look_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2r.cluster.jobs import start_jobs

    monkeypatch.setenv("PATH", str(tmp_path))
    spec = load_cluster(str(pbs_file(tmp_path)))
    assert isinstance(spec, JobClusterSpec)
    with pytest.raises(InputError, match="'qsub', which is not here"):
        start_jobs(spec)


def test_a_job_array_has_the_header_of_the_jobs_and_its_own_tasks(tmp_path: Path) -> None:
    from i2r.cluster.arrays import write_array_script

    spec = load_cluster(str(pbs_file(tmp_path)))
    assert isinstance(spec, JobClusterSpec)
    script = write_array_script(spec, "gpu", ["i2r", "a b", "$TASK"], n_tasks=7)
    header = PBS_GPU.partition("export")[0].replace("bash\n\n", "bash\n")
    assert script == (
        f"{header}#PBS -J 0-6\n{EXPORTS}export TASK=$PBS_ARRAY_INDEX\ni2r 'a b' $TASK\n"
    )
    assert "-J" not in write_array_script(spec, "gpu", ["i2r"], n_tasks=None)
