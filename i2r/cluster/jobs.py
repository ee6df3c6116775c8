"""Workers in jobs of a batch system: one scheduler here, CPU and GPU jobs under it."""

import importlib.util
import shlex
import signal
import socket
from threading import current_thread, main_thread
from typing import Any

from i2r.cluster.configuration import make_security, speaks_tls
from i2r.cluster.local import free_address
from i2r.cluster.settings import WORKER_SETUP, memory_environment, worker_environment
from i2r.cluster.site import LISTS
from i2r.cluster.spec import JobClusterSpec, JobGroup, WorkerKind
from i2r.errors import InputError

# A worker must end by itself, and hand its units back, before the batch system kills its job:
# it lives for 85 % of the walltime, give or take 5 %, so that not all of them end at once.
LIFETIME, STAGGER = 0.85, 0.05
# Fields that are ours; all others go to dask-jobqueue.
_OWN = {"jobs", "required"}


def make_job_options(spec: JobClusterSpec, group: WorkerKind) -> dict[str, Any]:
    """Give the arguments of dask-jobqueue's job class for one group."""
    jobs: JobGroup = getattr(spec, group)
    options = jobs.model_dump(exclude=_OWN, exclude_none=True)
    # An empty list would stand for "none at all", in front of the site's.
    options = {name: value for name, value in options.items() if value != ()}
    for name in LISTS:
        if name in options:
            options[name] = list(options[name])
    resources = f"CPU={jobs.nthreads},GPU=0" if group == "cpu" else "CPU=0,GPU=1"
    if group == "gpu" and jobs.worker_command is None and importlib.util.find_spec("dask_cuda"):
        options["worker_command"] = "dask cuda worker"
    # Of dask-cuda's workers the lifetime can be set in the environment only.
    variables = worker_environment(jobs.nthreads) | {
        "DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION": f"{int(jobs.walltime_s * LIFETIME)}s",
        "DASK_DISTRIBUTED__WORKER__LIFETIME__STAGGER": f"{int(jobs.walltime_s * STAGGER)}s",
        **memory_environment(),
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    options["job_script_prologue"] = [*exports, *jobs.job_script_prologue]
    # Nobody looks at the workers' own dashboards, and on a node they would be open to all.
    own = ["--resources", resources, "--preload", WORKER_SETUP, "--no-dashboard"]
    options["worker_extra_args"] = [*own, *options.get("worker_extra_args", ())]
    options["job_name"] = f"i2r-{group}"
    if speaks_tls(spec):
        options |= {"protocol": "tls://", "security": make_security(spec)}
    return options


def make_workers(spec: JobClusterSpec) -> dict[str, Any]:
    """Give the workers of a `distributed.SpecCluster`: one entry per job.

    Raises
    ------
    InputError
        If dask-jobqueue is not installed.
    """
    kind = find_job_class(spec)
    workers: dict[str, Any] = {}
    for group in ("cpu", "gpu"):
        jobs: JobGroup = getattr(spec, group)
        entry: dict[str, Any] = {"cls": kind, "options": make_job_options(spec, group)}
        if jobs.processes > 1:
            entry["group"] = [f"-{index}" for index in range(jobs.processes)]
        workers |= {f"{group}-{index}": entry for index in range(jobs.jobs)}
    return workers


def find_job_class(spec: JobClusterSpec) -> Any:
    """Find dask-jobqueue's job class of a batch system."""
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue

        # It takes Ctrl-C for itself when it is imported: a run that was interrupted would end
        # without a word, and with the exit code of one that is complete.
        if before is not None and current_thread() is main_thread():
            signal.signal(signal.SIGINT, before)
    except ModuleNotFoundError as error:
        raise InputError(
            f"cluster: type {spec.type} needs dask-jobqueue. Install it: pip install 'i2r[slurm]'."
        ) from error
    if spec.type == "slurm":
        return dask_jobqueue.slurm.SLURMJob
    return dask_jobqueue.pbs.PBSJob


def start_jobs(spec: JobClusterSpec) -> Any:
    """Start a scheduler on this machine and submit the jobs.

    Raises
    ------
    InputError
        If dask-jobqueue or the batch system's commands are not there, or a job is refused.
    """
    from shutil import which

    from distributed import Scheduler, SpecCluster

    workers = make_workers(spec)
    command = find_job_class(spec).submit_command
    if which(shlex.split(command)[0]) is None:
        raise InputError(
            f"cluster: type {spec.type} needs the command {command!r}, which is not here. "
            "Run on a login node, or look at the scripts with 'i2r cluster script FILE'."
        )
    security = make_security(spec)
    options = {
        **spec.scheduler_options.model_dump(exclude_none=True),
        "dashboard": True,
        "dashboard_address": free_address(spec.dashboard_address),
        "security": security,
    }
    if speaks_tls(spec):
        options["protocol"] = "tls"
    try:
        return SpecCluster(
            workers=workers,
            scheduler={"cls": Scheduler, "options": options},
            name="i2r",
            silence_logs=40,
            security=security,
        )
    except (RuntimeError, OSError, AssertionError) as error:
        # Dask trips over the jobs that were not submitted when it cleans up after a refusal.
        refusal = error.__context__ if isinstance(error, AssertionError) else error
        lines = str(refusal).splitlines()
        detail = next((line for line in lines if "error:" in line), str(refusal))
        raise InputError(f"cluster: {spec.type} took no job: {detail.strip()}.") from error


def render_scripts(spec: JobClusterSpec) -> dict[str, str]:
    """Write the job script of every group as it would be submitted, without submitting it.

    The scheduler's address is that of this machine; its port is known only where the file
    names one.
    """
    options = spec.scheduler_options
    host, port = options.host or socket.gethostname(), options.port or "PORT"
    address = f"{'tls' if speaks_tls(spec) else 'tcp'}://{host}:{port}"
    scripts = {}
    for name, entry in make_workers(spec).items():
        group = name.partition("-")[0]
        if group not in scripts:
            job = entry["cls"](address, name=name, **entry["options"])
            scripts[group] = str(job.job_script())
    return scripts
