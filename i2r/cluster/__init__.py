"""Where units run: this process, this machine, jobs of a batch system, or an existing scheduler.

A cluster file is read by `load_cluster`. Every cluster is one Dask scheduler with workers of two
kinds: CPU workers carry the resource ``CPU`` = their threads, GPU workers ``GPU`` = 1.
"""

from i2r.cluster.local import planned_workers, start_local
from i2r.cluster.spec import (
    AnyCluster,
    ClusterSpec,
    JobClusterSpec,
    JobGroup,
    WorkerGroup,
    WorkerKind,
    load_cluster,
)

__all__ = [
    "AnyCluster",
    "ClusterSpec",
    "JobClusterSpec",
    "JobGroup",
    "WorkerGroup",
    "WorkerKind",
    "load_cluster",
    "planned_workers",
    "start_local",
]
