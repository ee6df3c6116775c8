"""A cluster file: its fields, which are Dask's and dask-jobqueue's own, and how it is read."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from i2r.cluster.site import fill_from_site
from i2r.errors import InputError, find_meant, join_problems
from i2r.store.documents import read_yaml
from i2r.store.urls import refuse_secrets

WorkerKind = Literal["cpu", "gpu"]
JOB_TYPES = ("slurm", "pbs")


class _Fields(BaseModel):
    """Fields of a cluster file; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerGroup(_Fields):
    """Workers of one kind on this machine."""

    n_workers: int | Literal["auto"] = Field("auto", description="Number of worker processes")
    nthreads: int = Field(1, ge=1, description="Threads of each worker")
    memory_limit: str = Field("auto", description="Memory of each worker, for example 4GiB")
    required: bool = Field(False, description="Fail at once where there is no such worker")
    workers_per_gpu: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1,
        description="Worker processes that share one card; 'auto' measures how many are worth it "
        "on its first card, which takes about half a minute at the start",
    )


class JobGroup(_Fields):
    """Jobs of one kind; all fields but ``jobs`` and ``required`` are dask-jobqueue's.

    What a file does not give comes from the site's configuration of dask-jobqueue
    (``jobqueue.slurm.*``, ``jobqueue.pbs.*``), see `i2r.cluster.site`.
    """

    jobs: int = Field(0, ge=0, description="Number of jobs, kept up while the cluster runs")
    required: bool = Field(False, description="Fail at once where the file asks for no such job")
    cores: int = Field(1, ge=1, description="Cores of a job")
    processes: int = Field(1, ge=1, description="Worker processes of a job, which share its cores")
    memory: str = Field("4GiB", description="Memory of a job")
    walltime: str = Field("01:00:00", description="Time limit of a job, [DAYS-]HH:MM:SS")
    queue: str | None = Field(None, description="Partition (SLURM) or queue (PBS)")
    account: str | None = Field(None, description="What is billed")
    interface: str | None = Field(None, description="Network interface of the workers")
    death_timeout: float = Field(300, gt=0, description="Seconds until a job gives up connecting")
    local_directory: str | None = Field(None, description="Fast disk of the node")
    log_directory: str | None = Field(None, description="Where the jobs' output goes")
    shebang: str | None = Field(None, description="First line of the job script")
    python: str | None = Field(None, description="The interpreter on the nodes")
    worker_command: str | None = Field(None, description="Module that starts a worker")
    worker_extra_args: tuple[str, ...] = Field((), description="Further arguments of the worker")
    job_extra_directives: tuple[str, ...] = Field((), description="Further #SBATCH or #PBS lines")
    job_directives_skip: tuple[str, ...] = Field((), description="Lines to leave out")
    job_script_prologue: tuple[str, ...] = Field((), description="Commands before the worker")
    job_cpu: int | None = Field(None, ge=1, description="SLURM: cores to ask for")
    job_mem: str | None = Field(None, description="SLURM: memory to ask for")
    resource_spec: str | None = Field(None, description="PBS: what to select")

    @field_validator("walltime", mode="before")
    @classmethod
    def _refuse_numbers(cls, value: object) -> object:
        """YAML reads 24:00:00 without quotes as a number of seconds, in base 60."""
        if isinstance(value, int):
            minutes, seconds = divmod(value, 60)
            clock = f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
            raise ValueError(
                f'walltime is the number {value}, expected text in quotes: "{clock}" (YAML reads '
                f"{clock} without quotes as {value})"
            )
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cores % self.processes:
            raise ValueError(f"{self.processes} processes can't share {self.cores} cores equally")
        if self.walltime_s <= 120:
            raise ValueError(f"a walltime of {self.walltime} leaves a worker no time to end in")
        return self

    @property
    def nthreads(self) -> int:
        """Threads of each worker process."""
        return self.cores // self.processes

    @property
    def walltime_s(self) -> int:
        """The time limit in seconds."""
        days, _, clock = self.walltime.rpartition("-")
        try:
            parts = [int(part) for part in clock.split(":")]
            hours, minutes, seconds = [*[0] * (3 - len(parts)), *parts]
            return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
        except ValueError as error:
            raise ValueError(
                f"walltime is {self.walltime!r}, expected HH:MM:SS or DAYS-HH:MM:SS"
            ) from error

    @property
    def memory_bytes(self) -> int:
        """Memory of each worker process."""
        from dask.utils import parse_bytes

        return int(parse_bytes(self.memory)) // self.processes


class SchedulerOptions(_Fields):
    """Where the scheduler of a job cluster listens; Dask's own names."""

    host: str | None = Field(None, description="Address that the nodes can reach")
    interface: str | None = Field(None, description="Or: network interface to listen on")
    port: int = Field(0, ge=0, le=65535, description="Port; 0 for any")


class ClusterSpec(_Fields):
    """A cluster file: one scheduler with CPU and GPU workers on this machine, or elsewhere."""

    type: Literal["local", "connect", "none"] = "local"
    address: str | None = Field(None, description="The scheduler's address, for type: connect")
    cpu: WorkerGroup = WorkerGroup()
    gpu: WorkerGroup = WorkerGroup()
    dashboard_address: str = "127.0.0.1:8787"
    security: dict[str, Any] | None = Field(None, description="Arguments of dask's Security")

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        refuse_secrets(value or "")
        return value


class JobClusterSpec(_Fields):
    """A cluster file: one scheduler on this machine, its workers in jobs of a batch system."""

    type: Literal["slurm", "pbs"]
    cpu: JobGroup = JobGroup(jobs=1)
    gpu: JobGroup = JobGroup()
    scheduler_options: SchedulerOptions = SchedulerOptions()
    dashboard_address: str = "127.0.0.1:8787"
    security: dict[str, Any] | None = Field(None, description="Arguments of dask's Security")

    @model_validator(mode="after")
    def _check(self) -> Self:
        other = ("resource_spec",) if self.type == "slurm" else ("job_cpu", "job_mem")
        for name in other:
            if getattr(self.cpu, name) is not None or getattr(self.gpu, name) is not None:
                raise ValueError(f"{name} is no field of {self.type} jobs")
        if not self.cpu.jobs + self.gpu.jobs:
            raise ValueError("no jobs at all, expected at least one under 'cpu' or 'gpu'")
        return self

    @property
    def address(self) -> None:
        """None: the scheduler has no address before it is started."""


AnyCluster = ClusterSpec | JobClusterSpec


# Fields of a group of jobs that a site may set; the others are ours.
SITE_FIELDS = [name for name in JobGroup.model_fields if name not in ("jobs", "required")]
# What batch systems, and older versions of dask-jobqueue, call them.
MEANT = {
    "partition": "queue",
    "mem": "memory",
    "time": "walltime",
    "nodes": "jobs",
    "n_workers": "jobs",
    "n_jobs": "jobs",
    "project": "account",
    "cpus_per_task": "cores",
    "ncpus": "cores",
    "threads": "cores",
    "qos": "job_extra_directives",
    "gres": "job_extra_directives",
    "job_extra": "job_extra_directives",
    "env_extra": "job_script_prologue",
    "modules": "job_script_prologue",
    "extra": "worker_extra_args",
    "header_skip": "job_directives_skip",
    "workers": "n_workers",
    "processes": "n_workers",
    "memory": "memory_limit",
    "cores": "nthreads",
    "kind": "type",
    "cluster": "type",
    "scheduler": "address",
}


def find_field(name: str, fields: list[str]) -> str:
    """Find the field that somebody probably meant; empty where none is near."""
    plain = name.strip().lower().replace("-", "_")
    for guess in (plain, MEANT.get(plain, "")):
        if guess in fields:
            return guess
    return find_meant(plain, fields)


def _has_place(content: Any, place: tuple[int | str, ...]) -> bool:
    """Tell whether a place of an error is in the file, and not what was filled in."""
    for part in place[:2]:
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def load_cluster(text: str) -> AnyCluster:
    """Read ``--cluster``: a YAML file, ``none``, or a scheduler's address.

    Raises
    ------
    InputError
        If it is none of these, or the file has unknown fields.
    """
    if text == "none":
        return ClusterSpec(type="none")
    if urlsplit(text).scheme in ("tcp", "tls"):
        return ClusterSpec(type="connect", address=text)
    try:
        content: Any = read_yaml(text, where=f"cluster {text}") or {}
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"cluster {text!r}: no such file. Give a cluster file, 'none', or tcp://HOST:PORT."
        ) from error
    jobs = isinstance(content, dict) and content.get("type") in JOB_TYPES
    kind: type[ClusterSpec] | type[JobClusterSpec] = JobClusterSpec if jobs else ClusterSpec
    filled = fill_from_site(content, SITE_FIELDS) if jobs else content
    try:
        return kind.model_validate(filled)
    except ValidationError as error:
        problems = [
            f"cluster {text}: {_describe_problem(found, kind, content, filled=filled)}"
            for found in error.errors()
        ]
        raise InputError(join_problems(problems)) from error


def _describe_problem(
    found: ErrorDetails, kind: type[BaseModel], content: Any, *, filled: Any
) -> str:
    """Say which field of a cluster file is wrong, and what was probably meant."""
    name = ".".join(map(str, found["loc"])) or "the file"
    place: Any = kind
    for part in found["loc"][:-1]:
        inner = place.model_fields[part].annotation
        if not hasattr(inner, "model_fields"):  # an item of a list
            break
        place = inner
    hint = f"Fields are {', '.join(place.model_fields)}."
    if found["type"] == "extra_forbidden" and (
        meant := find_field(str(found["loc"][-1]), list(place.model_fields))
    ):
        hint = f"Did you mean {meant!r}? {hint}"
    if filled is not content and not _has_place(content, found["loc"]):
        hint += f" It comes from Dask's configuration (jobqueue.{content['type']})."
    if found["type"] == "literal_error" and name == "type":
        hint = f"Types are local, connect, {', '.join(JOB_TYPES)}."
    return f"{name!r}: {found['msg'].removeprefix('Value error, ')}. {hint}"
