"""What the architecture promises, read from the source."""

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2r.cli.group import COMMANDS, i2r
from i2r.stages.base import Stage, find_stage, list_own_verbs, list_verbs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "i2r"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SET_OF_SOURCES = set(SOURCES)


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """List the modules a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_only_the_run_loops_worker_side_computes() -> None:
    computes = re.compile(r"\.compute\(|\bget_sync\b")
    found = {relative(p) for p in SOURCES if computes.search(p.read_text(encoding="utf-8"))}
    assert found == {"pipeline/work.py"}


def test_only_pipeline_and_cluster_know_the_scheduler() -> None:
    found = {relative(p) for p in SOURCES if "distributed" in packages(p)}
    assert found
    assert all(name.startswith(("cluster/", "pipeline/")) for name in found), found


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if relative(p).startswith("kernels/")], ids=relative
)
def test_kernels_know_arrays_and_nothing_else(path: Path) -> None:
    allowed = {"numpy", "scipy", "sklearn", "skimage", "numba", "i2r"} | set(
        sys.stdlib_module_names
    )
    assert packages(path) <= allowed - {"logging"}
    modules = {n for n in imports(path) if n.startswith("i2r")} - {"i2r.errors", "i2r.types"}
    assert all(n.split(".")[:2] == ["i2r", "kernels"] for n in modules), modules


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if relative(p).startswith("models/")], ids=relative
)
def test_models_know_torch_and_arrays(path: Path) -> None:
    assert packages(path) <= {"numpy", "torch", "i2r"} | set(sys.stdlib_module_names) - {"logging"}
    assert {n for n in imports(path) if n.startswith("i2r")} <= {f"i2r.models.{p.stem}" for p in SOURCES} | {
        "i2r.models", "i2r.errors", "i2r.types",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if relative(p).startswith("lazy/")], ids=relative
)
def test_lazy_builders_do_no_input_or_output(path: Path) -> None:
    assert not {
        n
        for n in imports(path)
        if n.startswith(("i2r.store", "i2r.readers", "i2r.stages", "zarr", "pyarrow"))
    }


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if relative(p).startswith("stages/")], ids=relative
)
def test_stages_import_heavy_packages_only_when_they_run(path: Path) -> None:
    assert not {
        n for n in imports(path, top_level_only=True) if n.startswith(("torch", "i2r.models"))
    }


def test_files_are_addressed_by_the_store_and_the_readers_alone() -> None:
    found = {relative(p) for p in SOURCES if "fsspec" in packages(p)}
    assert all(name.startswith("store/") for name in found), found


def list_imported_files(path: Path) -> set[Path]:
    """List the package's files that a file imports: anywhere in it, for types alone too."""
    found = set()
    package = list(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            place = ROOT / name.replace(".", "/")
            found |= {
                f for f in (place.with_suffix(".py"), place / "__init__.py") if f in SET_OF_SOURCES
            }
    return found - {path}


def test_no_files_import_each_other_in_a_circle() -> None:
    """No circle, not even of imports for types: who reads one file may need all of a circle's.

    Files that import nothing that is left are taken away until none is left.
    """
    left = {path: list_imported_files(path) for path in SOURCES}
    while free := [path for path, needed in left.items() if not needed & set(left)]:
        for path in free:
            del left[path]
    assert not left, sorted(map(relative, left))


def test_no_ten_lines_stand_twice() -> None:
    places: dict[tuple[str, ...], set[str]] = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8").splitlines()
        lines = [(number, line.strip()) for number, line in enumerate(text, 1) if line.strip()]
        for first in range(len(lines) - 9):
            block = tuple(line for _, line in lines[first : first + 10])
            places.setdefault(block, set()).add(f"{relative(path)}:{lines[first][0]}")
    assert [sorted(found) for found in places.values() if len(found) > 1] == []


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ) if Path(sys.executable).with_name("lint-imports").exists() else None  # fmt: skip
    if done is None:
        pytest.skip("import-linter is not installed")
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_answers_at_once() -> None:
    """Count processor time, which a busy machine stretches less than the clock."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "i2r", "--help"], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert all(name in done.stdout for name in [*COMMANDS, *list_verbs()])
    assert min(seconds) < 0.6, seconds


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['i2r', '--help']\nfrom i2r.cli.group import run_command_line\ntry:\n run_command_line()\nexcept SystemExit: pass\n"
    heavy = {"numpy", "dask", "zarr", "torch", "pandas", "pydantic", "distributed", "pyarrow"}
    done = subprocess.run(
        [sys.executable, "-c", code + "print(sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "i2r" in loaded
    assert not loaded & heavy


# ------------------------------------------------------------------------------- stages


@pytest.mark.parametrize("verb", list_own_verbs())
def test_a_stage_is_found_and_explains_itself(verb: str) -> None:
    kind = find_stage(verb)
    assert issubclass(kind, Stage)
    assert kind.model_fields["stage"].default == verb
    assert (kind.__doc__ or "").strip()
    assert kind.__doc__ != Stage.__doc__
    assert sys.modules[kind.__module__].__doc__
    missing = [
        name
        for name, field in kind.model_fields.items()
        if not field.description and name != "stage"
    ]
    assert missing == []
    assert set(kind.not_fingerprinted) <= set(kind.model_fields)
    assert set(kind.upstream_verbs) <= {*list_verbs(), "*"}


@pytest.mark.parametrize("verb", list_own_verbs())
def test_a_stages_help_names_every_option(verb: str) -> None:
    result = CliRunner().invoke(i2r, [verb, "--help"], terminal_width=200)
    assert result.exit_code == 0, result.output
    for name in find_stage(verb).model_fields:
        if name != "stage":
            assert f"--{name.replace('_', '-')}" in result.output


@pytest.mark.parametrize("verb", list_own_verbs())
def test_a_stages_last_unit_and_units_have_docstrings(verb: str) -> None:
    kind = find_stage(verb)
    for name in ("keys", "build", "finish", "check", "peak_bytes"):
        assert getattr(kind, name).__doc__, name
