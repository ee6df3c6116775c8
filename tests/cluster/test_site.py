"""A site's jobqueue.yaml holds for all that a cluster file does not say, and adds to its lists."""

from pathlib import Path
from typing import Any

import dask
import pytest

from i2r.cluster import JobClusterSpec, load_cluster
from i2r.cluster.jobs import render_scripts
from i2r.cluster.spec import SITE_FIELDS
from i2r.errors import InputError

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")

# By field: the site's setting, and what of it stands in the job script.
SLURM: dict[str, tuple[Any, str]] = {
    "cores": (6, "--cpus-per-task=6"),
    "processes": (3, "--nworkers 3"),
    "memory": ("9GiB", "--mem=9G"),
    "walltime": ("03:00:00", "#SBATCH -t 03:00:00"),
    "queue": ("lowprio", "#SBATCH -p lowprio"),
    "account": ("lab", "#SBATCH -A lab"),
    "interface": ("lo", "--interface lo"),
    "death_timeout": (77, "--death-timeout 77"),
    "local_directory": ("/scratch/x", "--local-directory /scratch/x"),
    "log_directory": ("logs", "#SBATCH -o logs/"),
    "shebang": ("#!/bin/zsh", "#!/bin/zsh"),
    "python": ("/opt/python", "/opt/python -m"),
    "worker_command": ("my.worker", "-m my.worker"),
    "worker_extra_args": (["--nanny-port", "9000"], "--nanny-port 9000"),
    "job_extra_directives": (["--qos=x"], "#SBATCH --qos=x"),
    "job_directives_skip": (["-n 1"], ""),
    "job_script_prologue": (["module load cuda"], "\nmodule load cuda\n"),
    "job_cpu": (5, "--cpus-per-task=5"),
    "job_mem": ("7G", "--mem=7G"),
}
PBS = {"resource_spec": ("select=1:ncpus=3:mem=5gb", "#PBS -l select=1:ncpus=3:mem=5gb")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask-jobqueue makes the folder of the jobs' output."""
    monkeypatch.chdir(tmp_path)
    import dask_jobqueue  # noqa: F401 - its defaults come among the settings now, and only once


def render(text: str, site: dict[str, Any], kind: str) -> dict[str, str]:
    Path("cluster.yaml").write_text(text)
    named = {f"jobqueue.{kind}.{name.replace('_', '-')}": v for name, v in site.items()}
    with dask.config.set(named):
        spec = load_cluster("cluster.yaml")
        assert isinstance(spec, JobClusterSpec)
        return render_scripts(spec)


def test_every_field_is_here() -> None:
    assert {*SLURM, *PBS} == set(SITE_FIELDS)


@pytest.mark.parametrize(
    ("kind", "name"), [*(("slurm", n) for n in SLURM), *(("pbs", n) for n in PBS)]
)
def test_the_sites_setting_of_every_field_holds(kind: str, name: str) -> None:
    value, expected = (SLURM | PBS)[name]
    site = {name: value} | ({"cores": 6} if name == "processes" else {})
    text = f"type: {kind}\ncpu: {{jobs: 1}}\ngpu: {{jobs: 1}}"
    scripts = render(text, site, kind)
    for group, script in scripts.items():
        if name == "worker_command" or expected:
            assert expected in script, group
        else:
            assert "#SBATCH -n 1" not in script, group


@pytest.mark.parametrize("name", [n for n in SLURM if isinstance(SLURM[n][0], list)])
def test_the_files_lists_come_behind_the_sites(name: str) -> None:
    own = ["--comment=own"] if name != "job_directives_skip" else ["--mem"]
    text = f"type: slurm\ncpu: {{jobs: 1, {name}: {own!r}}}"
    script = render(text, {name: SLURM[name][0]}, "slurm")["cpu"]
    if name == "job_directives_skip":
        assert "-n 1" not in script
        assert "--mem=" not in script
    else:
        assert script.index(SLURM[name][1].strip()) < script.index("--comment=own")


def test_what_the_file_states_comes_first() -> None:
    text = "type: slurm\ncpu: {jobs: 1, cores: 2, queue: mine, memory: 3GiB, walltime: '02:00:00'}"
    site = {n: SLURM[n][0] for n in ("cores", "queue", "memory", "walltime")}
    script = render(text, site, "slurm")["cpu"]
    for word in ("--cpus-per-task=2", "-p mine", "--mem=3G", "-t 02:00:00"):
        assert word in script
    # Workers live as long as the job that was asked for.
    assert "LIFETIME__DURATION=6120s" in script


def test_workers_end_before_a_walltime_of_the_site() -> None:
    script = render("type: slurm\ncpu: {jobs: 1}", {"walltime": "03:00:00"}, "slurm")["cpu"]
    assert "LIFETIME__DURATION=9180s" in script


def test_older_names_of_dask_jobqueue_count_too() -> None:
    site = {"job-extra": ["--qos=old"], "env-extra": ["module load old"], "project": "lab"}
    with pytest.warns(FutureWarning):
        script = render("type: slurm\ncpu: {jobs: 1}", site, "slurm")["cpu"]
    assert script.count("--qos=old") == script.count("module load old") == 1
    assert "-A lab" in script


def test_the_scheduler_listens_where_the_site_says() -> None:
    site = {"scheduler-options": {"interface": "ib0", "port": 8788, "dashboard_address": ":9999"}}
    Path("cluster.yaml").write_text("type: slurm\nscheduler_options: {port: 9001}")
    with dask.config.set({"jobqueue.slurm.scheduler-options": site["scheduler-options"]}):
        spec = load_cluster("cluster.yaml")
    assert isinstance(spec, JobClusterSpec)
    assert (spec.scheduler_options.interface, spec.scheduler_options.port) == ("ib0", 9001)
    assert spec.dashboard_address == ":9999"


def test_dask_jobqueues_own_defaults_are_no_site() -> None:
    Path("cluster.yaml").write_text("type: slurm")
    spec = load_cluster("cluster.yaml")
    assert isinstance(spec, JobClusterSpec)
    assert (spec.cpu.jobs, spec.cpu.walltime, spec.cpu.death_timeout) == (1, "01:00:00", 300)


def test_a_wrong_setting_of_the_site_is_named_as_such() -> None:
    Path("cluster.yaml").write_text("type: slurm\ncpu: {jobs: 1}")
    with dask.config.set({"jobqueue.slurm.walltime": 86400}), pytest.raises(InputError) as error:
        load_cluster("cluster.yaml")
    assert "jobqueue.slurm" in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu: {partition: x}", "Did you mean 'queue'?"),
        ("cpu: {Queue: x}", "Did you mean 'queue'?"),
        ("cpu: {mem: 3GB}", "Did you mean 'memory'?"),
        ("cpu: {job-script-prologue: [x]}", "Did you mean 'job_script_prologue'?"),
        ("cpu: {quee: x}", "Did you mean 'queue'?"),
        ("cpu: {n_workers: 3}", "Did you mean 'jobs'?"),
        ("cpu: {walltime: 24:00:00}", 'expected text in quotes: "24:00:00"'),
        ("cpu: {walltime: 1:30:00}", '"01:30:00"'),
        ("cpu: {job_extra_directives: [1]}", "job_extra_directives.0"),
        ("schedular_options: {}", "Did you mean 'scheduler_options'?"),
    ],
)
def test_a_slip_in_a_file_of_jobs_is_answered_with_what_was_meant(text: str, expected: str) -> None:
    Path("cluster.yaml").write_text(f"type: slurm\n{text}")
    with pytest.raises(InputError) as error:
        load_cluster("cluster.yaml")
    (line,) = str(error.value).splitlines()
    assert expected in line


def test_all_slips_of_a_file_are_said_at_once() -> None:
    Path("cluster.yaml").write_text("type: slurm\ncpu: {partition: x, walltime: 24:00:00}")
    with pytest.raises(InputError) as error:
        load_cluster("cluster.yaml")
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert "Did you mean 'queue'?" in str(error.value)
    assert '"24:00:00"' in str(error.value)
    Path("cluster.yaml").write_text("kind: slurm")
    with pytest.raises(InputError, match="Did you mean 'type'"):
        load_cluster("cluster.yaml")
