"""Commands about where units run: cluster up, status, down, script."""

import rich_click as click
from rich.console import Console
from rich.table import Table

from i2r.cli.options import say
from i2r.errors import InputError


@click.group()
def cluster() -> None:
    """Start, look at, and stop a cluster that several runs use; show its job scripts.

    FILE is a cluster file, see the ones that ship with i2r. A run starts its own cluster from
    such a file and stops it at the end; a cluster that is up is given by its address:
    'i2r run ... --cluster tcp://HOST:PORT'.
    """


@cluster.command()
@click.argument("file")
def up(file: str) -> None:
    """Start the cluster of FILE and keep it up until Ctrl-C or 'i2r cluster down FILE'.

    Jobs that the batch system ends are submitted again meanwhile.
    """
    from i2r.cluster.persistent import keep_up

    keep_up(file, say=say)


@cluster.command()
@click.argument("file", metavar="FILE|ADDRESS")
def status(file: str) -> None:
    """Show the workers of a cluster that is up."""
    from i2r.cli.plan import format_bytes
    from i2r.cluster.persistent import list_workers

    workers = list_workers(file)
    table = Table(box=None, pad_edge=False)
    names = ("worker", "CPU", "GPU", "threads", "memory", "of", "units", "status", "address")
    for name in names:
        table.add_column(name, justify="left" if name in names[7:] or name == "worker" else "right")
    for worker in workers:
        table.add_row(
            worker.name,
            str(worker.cpu),
            str(worker.gpu),
            str(worker.nthreads),
            format_bytes(worker.memory_bytes),
            format_bytes(worker.memory_limit_bytes) if worker.memory_limit_bytes else "no limit",
            str(worker.running),
            worker.status,
            worker.address,
        )
    Console(width=160).print(table)
    cpu, gpu = sum(w.cpu for w in workers), sum(w.gpu for w in workers)
    click.echo(f"{len(workers)} workers: {cpu} CPU slots, {gpu} GPU slots")


@cluster.command()
@click.argument("file", metavar="FILE|ADDRESS")
def down(file: str) -> None:
    """Shut down a cluster that is up, with its workers and jobs."""
    from i2r.cluster.persistent import shut_down

    shut_down(file)


@cluster.command()
@click.argument("file")
def script(file: str) -> None:
    """Print the job scripts of FILE as they would be submitted; submits nothing."""
    from i2r.cluster import JobClusterSpec, load_cluster
    from i2r.cluster.jobs import render_scripts

    spec = load_cluster(file)
    if not isinstance(spec, JobClusterSpec):
        raise InputError(
            f"cluster {file}: type {spec.type} has no job scripts, expected slurm or "
            "pbs. Name another file."
        )
    for group, text in render_scripts(spec).items():
        click.echo(f"# {group}: {getattr(spec, group).jobs} jobs of\n{text}")
