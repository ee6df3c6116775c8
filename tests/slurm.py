"""A real SLURM on one machine, in a folder of its own: munged, slurmctld and some slurmd.

Nothing in /etc is touched and no service manager is needed; Debian's packages ``slurm-wlm`` and
``munge`` are. Several nodes share the machine, their GPUs are character devices that nobody
opens. By hand::

    python -m tests.slurm start FOLDER      # prints what to export
    python -m tests.slurm stop FOLDER
"""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
N_NODES, N_CPUS, N_GPUS = 2, 4, 1

CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
GresTypes=gpu
"""


def find_reason_against() -> str:
    """Say why no SLURM can be started here; empty where one can."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # daemons are not on every user's path
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]}: install the packages slurm-wlm and munge"
    if os.getuid() != 0:
        return "SLURM's daemons, and the devices that stand for GPUs, need root"
    return ""


def start(folder: Path) -> dict[str, str]:
    """Start SLURM and wait until its nodes are idle; give what to put into the environment."""
    for name in ("state", "munge", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o755)
    os.chmod(folder / "munge", 0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    os.chmod(key, 0o400)
    write_configuration(folder)
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    full = {**os.environ, **environment}
    munge = [
        f"--{name}={folder}/munge/{name}"
        for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    subprocess.run(["munged", "--force", f"--key-file={key}", *munge], check=True)
    subprocess.run(["slurmctld", "-c", "-f", environment["SLURM_CONF"]], check=True, env=full)
    for node in range(1, N_NODES + 1):
        command = ["slurmd", "-f", environment["SLURM_CONF"], "-N", f"n{node}"]
        subprocess.run(command, check=True, env=full)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-p", "cpu", "-o", "%t"],
            capture_output=True, text=True, env=full, check=False,
        )  # fmt: skip
        if done.stdout.split() == ["idle"] * N_NODES:
            return environment
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in (folder / "log").glob("*.log"))
    stop(folder)
    raise RuntimeError(f"SLURM did not come up:\n{logs}")


def write_configuration(folder: Path) -> None:
    """Write slurm.conf and gres.conf."""
    host = socket.gethostname().partition(".")[0]
    with socket.socket() as probe:  # a free port, with the nodes' ports behind it
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [CONFIGURATION.format(host=host, port=port, user="root", folder=folder)]
    devices = []
    memory_mib = psutil.virtual_memory().total // 2**20 // N_NODES
    for number in range(N_GPUS):
        with suppress(FileExistsError):
            # A null device: SLURM wants a character device whose name ends in the GPU's number.
            os.mknod(folder / f"gpu{number}", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for node in range(1, N_NODES + 1):
        lines.append(
            f"NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + node} "
            f"CPUs={N_CPUS} Boards=1 SocketsPerBoard=1 CoresPerSocket={N_CPUS} ThreadsPerCore=1 "
            f"RealMemory={memory_mib} Gres=gpu:{N_GPUS} State=UNKNOWN"
        )
        devices += [f"NodeName=n{node} Name=gpu File={folder}/gpu{n}" for n in range(N_GPUS)]
    lines.append("PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
    lines.append("PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
    (folder / "gres.conf").write_text("\n".join(devices) + "\n")


def stop(folder: Path) -> None:
    """Cancel all jobs and stop the daemons, by the numbers they left."""
    full = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["scancel", "-u", "root"], check=False, env=full, timeout=20, capture_output=True
        )
    time.sleep(0.5)
    files = [*folder.glob("slurmd-*.pid"), folder / "slurmctld.pid", folder / "munge" / "pid-file"]
    processes = []
    for path in files:
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int(path.read_text()))
            process.send_signal(signal.SIGTERM)
            processes.append(process)
    for process in psutil.wait_procs(processes, timeout=15)[1]:
        process.kill()


if __name__ == "__main__":
    action, place = sys.argv[1:]
    if action == "start":
        for variable, value in start(Path(place).resolve()).items():
            print(f"export {variable}={value}")
    else:
        stop(Path(place).resolve())
