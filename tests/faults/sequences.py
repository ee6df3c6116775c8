"""Random sequences of signals and of changed options, compared with a run that nobody disturbs.

A sequence is an experiment that is run again and again: with the options A, or for a run with other
ones (B), while its processes are killed, told to end, or stopped for a while. At its end a run with A
completes. Then every digest must be that of the undisturbed run, and no unit that was finished may have
run again. The ledger is read as text here, not by i2r. By hand, 30 sequences and a table::

    python -m tests.faults.sequences --sequences 30
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import load_pipeline
from i2r.testing import describe_pipeline, digest_experiment, write_plate

CLUSTER = """
cpu: {n_workers: 2, memory_limit: 3GiB}
gpu: {n_workers: 0}
dashboard_address: 127.0.0.1:0
"""
# Other options, by stage: each deletes and makes anew something that others read or live in.
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "pixel size": ("convert", {"pixel_size_um": 1.1}),
    "segmentation": ("segment", {"sigma_um": 1.5}),
    "crops": ("crop", {"min_solidity": 0.2}),
}
# Who is hit, and by what.
FAULTS = (
    *((who, kind) for who in ("client", "group") for kind in ("KILL", "TERM", "INT", "HUP")),
    *((who, "KILL") for who in ("worker", "all workers", "resource tracker")),
    ("worker", "TERM"), ("worker", "STOP"), ("all workers", "STOP"), ("client", "STOP"),
)  # fmt: skip
END_S = 600.0

Done = dict[tuple[str, str], str]


class Setup(NamedTuple):
    """How to run with the options A and with others, and what comes out of A undisturbed."""

    pipelines: dict[str, Path]
    cluster: Path
    digest: dict[str, str]
    n_units: int


class Outcome(NamedTuple):
    """What became of a sequence; it is well where `problems` is empty."""

    seed: int
    faults: list[str]
    runs: int
    problems: list[str]


def make_setup(folder: Path, *, wells: int, screen: bool) -> Setup:
    """Write a plate and pipelines, and run A undisturbed."""
    plate = write_plate(folder / "plate", wells=wells, fields=2)
    described = describe_pipeline(plate, screen=screen)
    described["stages"].insert(4, {"stage": "features"})
    contents = {"A": described}
    for name, (verb, options) in CHANGES.items():
        content = json.loads(json.dumps(described))
        next(s for s in content["stages"] if s["stage"] == verb).update(options)
        contents[name] = content
    pipelines = {}
    for name, content in contents.items():
        pipelines[name] = folder / f"{name.replace(' ', '-')}.yaml"
        pipelines[name].write_text(json.dumps(content))
    cluster = folder / "cluster.yaml"
    cluster.write_text(CLUSTER)
    url = folder / "undisturbed"
    run_pipeline(
        load_pipeline(str(pipelines["A"])), str(url), style="none", cluster=ClusterSpec(type="none")
    )
    n_units = len(list_done(read_ledger(url)))
    return Setup(pipelines, cluster, digest_experiment(str(url)), n_units)


# ------------------------------------------------------------------------------- the ledger


def read_ledger(url: Path, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Give the events of the runs after one, in order; a torn line is none."""
    for segment in sorted((url / "ledger").glob("*.jsonl")):
        if int(segment.stem.partition(".")[0]) > after:
            for line in segment.read_bytes().split(b"\n"):
                with suppress(ValueError):
                    yield json.loads(line)


def last_run(url: Path) -> int:
    """Give the number of the last run; 0 before the first."""
    numbers = [int(p.stem.partition(".")[0]) for p in (url / "ledger").glob("*.jsonl")]
    return max(numbers, default=0)


def list_done(events: Iterator[dict[str, Any]]) -> Done:
    """Give the fingerprint of every unit whose last event is done."""
    last = {(event["stage"], event["key"]): event for event in events}
    return {unit: e["fingerprint"] for unit, e in last.items() if e["event"] == "done"}


def list_wasted(before: Done, events: Iterator[dict[str, Any]]) -> list[str]:
    """List units that ran again though they were done, with the same fingerprint."""
    done, wasted = dict(before), []
    for event in events:
        unit = event["stage"], event["key"]
        if event["event"] == "lost":
            done.pop(unit, None)
        elif event["event"] == "start" and done.get(unit) == event["fingerprint"]:
            wasted.append("/".join(unit))
        elif event["event"] == "done":
            done[unit] = event["fingerprint"]
    return wasted


# ------------------------------------------------------------------------------- processes


class Run:
    """The command line in a process group of its own, as a terminal starts it."""

    def __init__(self, setup: Setup, options: str, url: Path) -> None:
        command = [
            sys.executable, "-m", "i2r", "run", str(setup.pipelines[options]), str(url),
            "--cluster", str(setup.cluster), "--progress", "none", "--yes",
        ]  # fmt: skip
        self.url, self.before = url, last_run(url)
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            command, stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.seen: dict[int, psutil.Process] = {}

    def processes(self, who: str) -> list[psutil.Process]:
        """Find the client, its workers, their resource tracker, or all of them."""
        with suppress(psutil.NoSuchProcess):
            client = psutil.Process(self.process.pid)
            children = client.children(recursive=True)
            self.seen |= {child.pid: child for child in children}
            if who == "client":
                return [client]
            if who == "group":
                return [client, *children]
            word = "resource_tracker" if who == "resource tracker" else "spawn_main"
            return [child for child in children if word in _command(child)]
        return []

    def count(self) -> int:
        """Count the events of this run."""
        return sum(1 for _ in read_ledger(self.url, after=self.before))

    def wait_for(self, condition: Any, limit_s: float = END_S) -> bool:
        """Wait for a condition, or the end of the client; tell whether neither came in time."""
        deadline = time.monotonic() + limit_s
        while not condition() and self.process.poll() is None:
            if time.monotonic() > deadline:
                return True
            time.sleep(0.01)
        return False

    def said(self) -> str:
        """Give what it printed."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def end(self) -> None:
        """Kill what is left of it."""
        for process in [*self.processes("group"), *self.seen.values()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        self.output.close()


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def hit(run: Run, who: str, kind: str, chosen: random.Random) -> None:
    """Send a signal; what is stopped goes on after a while."""
    found = run.processes(who)
    if who == "worker":
        found = [chosen.choice(found)] if found else []
    number = signal.Signals[f"SIG{kind}"]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    if kind == "STOP":
        time.sleep(chosen.uniform(0.2, 6))
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


# ------------------------------------------------------------------------------- a sequence


def disturb(setup: Setup, options: str, url: Path, chosen: random.Random) -> Outcome:
    """Run once with faults until the client is gone; give faults and problems."""
    faults, problems, before = list[str](), list[str](), list_done(read_ledger(url))
    run = Run(setup, options, url)
    try:
        for _ in range(chosen.randint(1, 3)):
            number = run.count() + chosen.randint(0, setup.n_units)
            if chosen.random() < 0.2:  # while it starts, or between events
                time.sleep(chosen.uniform(0, 8))
            else:
                run.wait_for(lambda number=number: run.count() >= number, limit_s=120)
            if run.process.poll() is not None:
                break
            who, kind = chosen.choice(FAULTS)
            hit(run, who, kind, chosen)
            faults.append(f"{who} {kind} ({options})")
            if kind != "STOP" and who in ("client", "group"):
                break
        if run.wait_for(lambda: False):
            problems.append(f"hangs after {faults}")
        problems += look(run, faults)
        problems += [
            f"ran again after {faults}: {unit}"
            for unit in list_wasted(before, read_ledger(url, after=run.before))
        ]
    finally:
        # Workers of a client that was killed end by themselves, and must not be in the way.
        if not faults or not faults[-1].startswith(("client KILL", "group KILL")):
            run.end()
        else:
            run.process.wait()
    return Outcome(0, faults, 1, problems)


def look(run: Run, faults: list[str]) -> list[str]:
    """Read what a run printed, and how it ended."""
    said, code, problems = run.said(), run.process.poll(), list[str]()
    last = faults[-1] if faults else ""
    # Python's helper, started anew after it was killed, has lost count of what it looks after.
    helper = any(fault.startswith("resource tracker") for fault in faults)
    traced = said.count("Traceback") - (said.count("KeyError: '/mp-") if helper else 0)
    if traced or "bug in i2r" in said:
        problems.append(f"traceback after {faults}:\n{said[-3000:]}")
    ended = last.startswith(("client", "group")) and "STOP" not in last
    # Before it listens to signals, it ends of them without a word.
    allowed = {0, 130, -9, -15, -2, -1} if ended else {0}
    if code is not None and code not in allowed:
        problems.append(f"exit code {code} after {faults}:\n{said[-1000:]}")
    return problems


def run_sequence(setup: Setup, url: Path, seed: int) -> Outcome:
    """Disturb a few runs, some with other options; complete A, and compare."""
    chosen = random.Random(seed)
    faults, problems, runs = list[str](), list[str](), 0
    for number in range(chosen.randint(2, 4)):
        options = "A" if number == 0 or chosen.random() < 0.5 else chosen.choice([*CHANGES])
        outcome = disturb(setup, options, url, chosen)
        faults, problems, runs = faults + outcome.faults, problems + outcome.problems, runs + 1
    before = list_done(read_ledger(url))
    run = Run(setup, "A", url)
    try:
        if run.wait_for(lambda: False):
            problems.append("the last run hangs")
        problems += look(run, [])
        wasted = list_wasted(before, read_ledger(url, after=run.before))
        problems += [f"ran again in the last run: {unit}" for unit in wasted]
    finally:
        run.end()
    found = digest_experiment(str(url))
    differing = sorted({path for path, _ in found.items() ^ setup.digest.items()})
    if differing:
        problems.append(f"{len(differing)} differ: {', '.join(differing[:5])}")
    if (url / "run.lock").exists():
        problems.append("run.lock is left")
    return Outcome(seed, faults, runs + 1, problems)


def main() -> None:
    """Run sequences and print a line for each, and the totals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sequences", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--wells", type=int, default=8)
    parser.add_argument("--screen", action="store_true", help="with the screen's trainings")
    given = parser.parse_args()
    totals, kinds = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="i2r-faults-") as name:
        setup = make_setup(Path(name), wells=given.wells, screen=given.screen)
        for seed in range(given.seed, given.seed + given.sequences):
            url = Path(name) / str(seed)
            started = time.monotonic()
            outcome = run_sequence(setup, url, seed)
            shutil.rmtree(url, ignore_errors=True)
            kinds.update(fault.partition(" (")[0] for fault in outcome.faults)
            totals.update(
                sequences=1, runs=outcome.runs, faults=len(outcome.faults),
                well=int(not outcome.problems), problems=len(outcome.problems),
            )  # fmt: skip
            words = "; ".join(outcome.problems) or "identical, nothing ran again"
            seconds = time.monotonic() - started
            print(f"{seed}: {', '.join(outcome.faults)} [{seconds:.0f} s]: {words}", flush=True)
    print(dict(totals), dict(kinds))
    sys.exit(bool(totals["problems"]))


if __name__ == "__main__":
    main()
