"""Job arrays of SLURM and PBS: their scripts, and how they are submitted one after another."""

import re
import shlex
import subprocess
from collections.abc import Sequence

from i2r.cluster.jobs import find_job_class, make_job_options
from i2r.cluster.spec import JobClusterSpec, WorkerKind
from i2r.errors import InputError

# Where a task of an array finds its number.
TASK_VARIABLE = {"slurm": "SLURM_ARRAY_TASK_ID", "pbs": "PBS_ARRAY_INDEX"}


def write_array_script(
    spec: JobClusterSpec, group: WorkerKind, command: Sequence[str], *, n_tasks: int | None
) -> str:
    """Write the script of a job array with the header of a group's jobs.

    Parameters
    ----------
    spec, group
        Whose queue, memory, walltime and further directives the array has.
    command
        What each task runs; ``$TASK`` stands for its number.
    n_tasks
        How many; None for a single job.
    """
    options = make_job_options(spec, group)
    header = find_job_class(spec)("tcp://unused:0", name="task", **options).job_header
    if n_tasks is not None:
        flag = "--array=" if spec.type == "slurm" else "-J "
        header += f"\n#{'SBATCH' if spec.type == 'slurm' else 'PBS'} {flag}0-{n_tasks - 1}"
    words = ["$TASK" if word == "$TASK" else shlex.quote(word) for word in command]
    lines = [
        getattr(spec, group).shebang or "#!/usr/bin/env bash",
        header,
        *options["job_script_prologue"],
        f"export TASK=${TASK_VARIABLE[spec.type]}",
        " ".join(words),
    ]
    return "\n".join(lines) + "\n"


def submit_after(spec: JobClusterSpec, script: str, after: str | None) -> str:
    """Submit a script that starts when another job has ended, however; give its number.

    Raises
    ------
    InputError
        If the batch system refuses it.
    """
    if spec.type == "slurm":
        command = ["sbatch", "--parsable"]
        command += [f"--dependency=afterany:{after}"] if after else []
    else:
        command = ["qsub", *(["-W", f"depend=afterany:{after}"] if after else [])]
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError(
            f"cluster: type {spec.type} needs the command {command[0]!r}, which is not here. "
            "Submit from a login node."
        ) from error
    found = re.match(r"\d+[^\s;]*", done.stdout)
    if done.returncode or found is None:
        raise InputError(f"cluster: {spec.type} took no job: {done.stderr.strip() or done.stdout}.")
    return found[0]
