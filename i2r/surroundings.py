"""What an installation meets on other people's machines, put right before anything is imported.

Only the standard library is imported here: `import i2r` calls `settle`, and costs nothing.
"""

import os
import re
import site
import stat
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from i2r.errors import InputError

# Libraries read their number of threads from these when they are imported.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLOSC_NTHREADS",
    "NUMBA_NUM_THREADS",
)
# Set in worker processes that a run starts on its own machine. They are told their configuration;
# the user's files are not for them.
OWN_WORKER = "I2R_OWN_WORKER"
# OMP_NUM_THREADS may give a number for each level of nested regions: 4,2.
_NUMBERS = re.compile(r"\s*0*[1-9]\d{0,4}\s*(,\s*0*[1-9]\d{0,4}\s*)*")
_SEARCHED = (
    *("i2r", "dask", "distributed", "numpy", "scipy", "pandas", "pyarrow", "numba", "torch"),
    *("zarr", "xarray", "pydantic", "click", "rich", "yaml", "psutil", "tifffile"),
)


def settle() -> None:
    """Drop thread variables that are not numbers, and give caches a folder where HOME has none."""
    for name in THREAD_VARIABLES:
        if name in os.environ and not _NUMBERS.fullmatch(os.environ[name]):
            del os.environ[name]
    if not os.environ.get("SOURCE_DATE_EPOCH", "0").isdecimal():
        del os.environ["SOURCE_DATE_EPOCH"]  # NumPy takes it for a number
    # Numba takes its default then; its warning holds a traceback.
    warnings.filterwarnings("ignore", "Environment variable 'NUMBA_", RuntimeWarning)
    if os.environ.get(OWN_WORKER) and "dask" not in sys.modules:
        _import_dask_bare()
    package = Path(__file__).parent
    if can_write(package / "kernels" / "__pycache__"):
        return
    if not _has_cache():
        folder = find_cache_folder()
        for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
            os.environ.setdefault(name, str(folder / name.partition("_")[0].lower()))
    borrow_compiled(package / "kernels")
    # Whoever imported Numba before i2r: it has read its variables already.
    numba, named = sys.modules.get("numba"), os.environ.get("NUMBA_CACHE_DIR")
    if numba is not None and named:
        numba.config.CACHE_DIR = named


def _has_cache() -> bool:
    """Tell whether Numba finds a folder for what it compiles: one that is named, or the user's."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named and can_write(Path(named)):
        return True
    os.environ.pop("NUMBA_CACHE_DIR", None)
    cache = _find_user_cache()
    return cache.is_absolute() and can_write(cache)


def _find_user_cache() -> Path:
    """Give the folder that Numba takes where it can't write beside a module."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "numba"


def borrow_compiled(kernels: Path) -> None:
    """Have Numba load what was compiled beside kernels that lie where nobody can write.

    Numba reads no folder that it can't write. So a folder of the user's is named to it that links
    to each compiled file; what it compiles for itself replaces a link or stands beside them. The
    folder is named after what it links to: links to an earlier installation never mix with these.

    Parameters
    ----------
    kernels
        Folder of modules, which holds ``__pycache__``, as may the folders in it.
    """
    from hashlib import sha1, sha256  # takes as long as i2r itself

    compiled = {
        path: path.stat()
        for path in sorted(Path(os.path.abspath(kernels)).rglob("__pycache__/*.nb[ci]"))
    }
    if not compiled:
        return
    stamp = "".join(f"{path} {s.st_size} {s.st_mtime_ns}\n" for path, s in compiled.items())
    name = f"i2r-{sha256(stamp.encode()).hexdigest()[:16]}"
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or _find_user_cache())
    folder = base if base.name == name else base / name  # workers are told the folder itself
    links = defaultdict[Path, dict[str, Path]](dict)
    for path in compiled:
        source = path.parents[1]
        # As `numba.core.caching` names the folder of a module's folder.
        there = folder / f"{source.name}_{sha1(str(source).encode()).hexdigest()}"
        links[there][path.name] = path
    try:
        for there, wanted in links.items():
            there.mkdir(parents=True, exist_ok=True)
            for missing in wanted.keys() - set(os.listdir(there)):
                with suppress(FileExistsError):  # another process links as well
                    (there / missing).symlink_to(wanted[missing])
    except OSError:
        return  # a full disk, or no links there: it compiles for itself
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def can_write(folder: Path) -> bool:
    """Tell whether a file can be written in a folder, which is made where it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"\0" * 4096)  # of a full disk, or a quota, a file's name is no sign
    except OSError:
        return False
    return True


def find_cache_folder() -> Path:
    """Make a folder for caches that is the user's alone; what lies there is loaded as code.

    Raises
    ------
    InputError
        If no folder for temporary files can be written.
    """
    for base in (*_temporary_folders(), "/dev/shm"):
        folder = Path(base) / f"i2r-{os.getuid()}"
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            # Whoever made it first, under this name, could put code into it.
            own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if own and not found.st_mode & 0o022 and can_write(folder):
                return folder
            return Path(tempfile.mkdtemp(prefix="i2r-", dir=base))
    raise InputError(
        "surroundings: no folder can be written for compiled functions (beside i2r, in HOME, for "
        "temporary files). Set NUMBA_CACHE_DIR to one."
    )


def _temporary_folders() -> list[str]:
    try:
        return [tempfile.gettempdir()]
    except OSError:
        return []


# ------------------------------------------------------------------------- foreign packages

# What an installation without its largest part is told.
NO_TORCH = (
    "PyTorch is not installed. Install it: pip install 'i2r[torch]'. Or do without: screen with "
    "method 'fast', segment with 'threshold'."
)


def check_packages() -> None:
    """Refuse a package that PYTHONPATH puts in front of the one that i2r was installed with.

    Module systems and old set-ups export such paths for another Python; what is found there may
    fail in any place, or give other results.

    Raises
    ------
    InputError
        If a package found through PYTHONPATH is not a version that i2r takes.
    """
    entries = {os.path.realpath(e) for e in os.environ.get("PYTHONPATH", "").split(":") if e}
    own = os.path.realpath(Path(__file__).parents[1])
    if not entries or own in entries:
        return
    from importlib.machinery import PathFinder

    for name in _SEARCHED:
        spec = PathFinder.find_spec(name)
        places = [spec.origin] if spec and spec.origin else list(
            (spec and spec.submodule_search_locations) or ())  # fmt: skip
        for place in places:
            entry = next((e for e in entries if os.path.realpath(place).startswith(e + "/")), None)
            if entry is not None and (wrong := _find_mismatch(name, entry)):
                raise InputError(
                    f"PYTHONPATH: {name} is found in {entry} ({wrong}), expected the one that i2r "
                    "was installed with. Unset PYTHONPATH, or leave this folder out of it."
                )


def name_shadow(error: BaseException) -> str:
    """Say which file stands before a module of Python or of i2r's packages, if an error is of it.

    A ``json.py`` in a folder of PYTHONPATH, or where ``python -m i2r`` is started, is imported in
    place of Python's own. Empty for any other error.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    entries = {os.path.realpath(entry) for entry in (*named, os.getcwd()) if entry}
    step = error.__traceback__
    while step is not None:
        path = Path(os.path.realpath(step.tb_frame.f_code.co_filename))
        step = step.tb_next
        for place in (path, path.parent if path.name == "__init__.py" else path):
            known = place.stem in sys.stdlib_module_names or place.stem in (
                *_SEARCHED,
                "rich_click",
            )
            if known and str(place.parent) in entries:
                return (
                    f"PYTHONPATH: {place} is imported in place of the module {place.stem!r}, "
                    "expected the one that i2r was installed with. Unset PYTHONPATH, or start i2r "
                    "in another folder."
                )
    return ""


def _find_mismatch(name: str, entry: str) -> str:
    """Say what is wrong with a package in a folder; empty where i2r takes it."""
    from importlib.metadata import PackageNotFoundError, distributions, requires

    from packaging.requirements import Requirement

    project = {"yaml": "pyyaml"}.get(name, name)
    found = next((d.version for d in distributions(name=project, path=[entry])), "")
    try:
        wanted = [Requirement(line) for line in requires("i2r") or ()]
    except PackageNotFoundError:  # run from its source, not installed
        wanted = []
    limits = next((r.specifier for r in wanted if r.name.lower() == project), None)
    if not found:
        return "no version"
    if limits is not None and not limits.contains(found, prereleases=True):
        return f"version {found}, i2r needs {limits}"
    python = re.search(r"python\d+\.\d+", entry)
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"of {python[0]}" if python and python[0] != own else ""


# ------------------------------------------------------------------------- Dask's configuration

_dask_problem = ""


def load_dask() -> None:
    """Import Dask, also where the user's configuration of it can't be read.

    Dask reads its files when it is imported, and fails with the first one that is malformed. What
    only looks at results needs none of them: it goes on with Dask's defaults. What starts or
    finds a cluster asks `check_dask_configuration` first.
    """
    global _dask_problem  # noqa: PLW0603 - read once in a process, as Dask does
    if "dask" in sys.modules:
        return
    try:
        import dask  # noqa: F401
    except ImportError:
        raise
    except Exception as error:
        for name in [n for n in sys.modules if n == "dask" or n.startswith("dask.")]:
            del sys.modules[name]
        try:
            _import_dask_bare()
        except Exception:
            _dask_problem = str(error)
            check_dask_configuration()
        _dask_problem = str(error)


def find_dask_problem() -> str:
    """Say why Dask's configuration could not be read, in one line; empty where it was."""
    words = " ".join(_dask_problem.split())
    if not words:
        return ""
    return (
        f"Dask's configuration can't be read: {words[:400]}. Correct it (files in "
        "~/.config/dask, DASK_ variables), or name another one (DASK_CONFIG)."
    )


def check_dask_configuration() -> None:
    """Refuse to start or find a cluster under a configuration that could not be read.

    Raises
    ------
    InputError
        If it is so; worker processes would fail for the same reason.
    """
    if problem := find_dask_problem():
        raise InputError(problem)


def _import_dask_bare() -> None:
    """Import Dask without the user's configuration, which is read at this moment only."""
    with _hide_configuration():
        import dask  # noqa: F401


@contextmanager
def _hide_configuration() -> Iterator[None]:
    """Keep the user's files and variables from Dask for a moment."""
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith("DASK_")]:
        if name != "DASK_LOGGING__DISTRIBUTED":  # ours, in a worker
            del os.environ[name]
    nowhere = os.devnull + "/nowhere"
    os.environ |= {"HOME": nowhere, "DASK_ROOT_CONFIG": nowhere}
    prefix, sys.prefix = sys.prefix, nowhere
    prefixes, site.PREFIXES = site.PREFIXES, [nowhere]
    try:
        yield
    finally:
        sys.prefix, site.PREFIXES = prefix, prefixes
        os.environ.clear()
        os.environ.update(before)
