"""Other people's machines: no HOME, foreign packages, closed streams, a broken configuration."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from i2r import surroundings
from i2r.errors import InputError

NOBODY = 65534


def i2r(
    *arguments: object, prefix: tuple[str, ...] = (), drop: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = {n: v for n, v in os.environ.items() if n not in drop} | more
    return subprocess.run(
        [*prefix, sys.executable, "-m", "i2r", *map(str, arguments)],
        check=False, capture_output=True, text=True, env=environment, cwd="/",
    )  # fmt: skip


def shell(command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which I2R stands for the command."""
    return subprocess.run(
        ["bash", "-c", command.replace("I2R", f"{sys.executable} -m i2r")],
        check=False, capture_output=True, text=True, env={**os.environ, **more},
    )  # fmt: skip


# --------------------------------------------------------------------- nowhere to write


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_a_user_without_home_reads_experiments(
    cropped: Path, request: pytest.FixtureRequest
) -> None:
    """As in containers and module systems: installed by root, used by number 65534."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folder is root's alone
    request.addfinalizer(lambda: shutil.rmtree(place))
    place.chmod(0o755)
    cropped = Path(shutil.copytree(cropped, place / "e"))
    become = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups".split()
    become += ["--bounding-set=-all", "--inh-caps=-all"]
    trial = subprocess.run(
        [*become, sys.executable, "-c", f"import i2r, os; os.listdir({str(cropped)!r})"],
        check=False, capture_output=True, cwd="/",
    )  # fmt: skip
    if trial.returncode:
        pytest.skip("this checkout is root's alone")
    drop = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    done = i2r("status", cropped, prefix=tuple(become), drop=drop, HOME="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    assert "crop" in done.stdout


def test_caches_go_to_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = surroundings.find_cache_folder()
    assert folder == tmp_path / f"i2r-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert surroundings.find_cache_folder() == folder, "the next process finds it again"


def test_a_folder_that_others_can_write_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"i2r-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    folder = surroundings.find_cache_folder()
    assert folder != planted
    assert folder.stat().st_mode & 0o777 == 0o700


def test_without_any_folder_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_temporary_folders", lambda: ["/proc/nowhere"])
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(InputError, match="Set NUMBA_CACHE_DIR"):
        surroundings.find_cache_folder()


def test_a_home_that_can_be_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert surroundings._has_cache()
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert not surroundings._has_cache()
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    assert not surroundings._has_cache(), "one that is named but can't be written"


def test_what_was_compiled_at_install_is_used_where_nobody_can_write(tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "doubling.py").write_text(
        "import numba\n@numba.njit(cache=True)\ndef double(x):\n    return 2 * x\n"
    )

    def call(borrow: str, *values: str) -> str:
        """Call the kernel in a process of its own; gives what was loaded, and what compiled."""
        code = (
            f"{borrow}; from doubling import double; [double(x) for x in ({', '.join(values)},)]; "
            "print(*(sum(c.values()) for c in (double.stats.cache_hits, double.stats.cache_misses)))"
        )
        environment = {n: v for n, v in os.environ.items() if n != "NUMBA_CACHE_DIR"}
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env=environment | {"PYTHONPATH": str(kernels), "XDG_CACHE_HOME": str(tmp_path)},
        )  # fmt: skip
        return done.stdout.strip()

    borrow = (
        "from pathlib import Path; from i2r.surroundings import borrow_compiled; "
        f"[borrow_compiled(Path({str(kernels)!r})) for _ in range(2)]"
    )
    assert call(borrow, "1") == "0 1", "nothing was compiled there: Numba finds its own way"
    assert call("pass", "1") == "1 0"
    installed = {path: path.stat().st_mtime_ns for path in kernels.rglob("*.nb?")}
    assert call(borrow, "1", "1.5") == "1 1"
    assert call(borrow, "1", "1.5") == "2 0", "what it compiled for itself is kept"
    assert installed == {path: path.stat().st_mtime_ns for path in kernels.rglob("*.nb?")}


@pytest.mark.parametrize("value", ["abc", "", "0", "-2", "3.5", "999999", "4;2", "$CORES"])
def test_thread_variables_that_are_no_numbers_are_dropped(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in surroundings.THREAD_VARIABLES:
        monkeypatch.setenv(name, value)
    surroundings.settle()
    assert not set(surroundings.THREAD_VARIABLES) & set(os.environ)


@pytest.mark.parametrize("value", ["1", " 8 ", "4,2"])
def test_thread_variables_that_are_numbers_stay(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    surroundings.settle()
    assert os.environ["OMP_NUM_THREADS"] == value


def test_other_variables_that_are_no_numbers_give_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import i2r, numba, numpy.f2py"],
        check=False, capture_output=True, text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "x", "NUMBA_DEBUG": "", "SOURCE_DATE_EPOCH": "x"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# --------------------------------------------------------------------- foreign packages


def test_another_dask_on_pythonpath_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "__init__.py").write_text("__version__ = '2021.4'")
    done = i2r("doctor", tmp_path / "e", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: PYTHONPATH: dask is found in {tmp_path} (no version)")
    assert "Unset PYTHONPATH" in line


@pytest.mark.parametrize("name", ["json", "click", "secrets"])
def test_a_module_in_place_of_another_is_one_line(name: str, cropped: Path, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise ImportError('x')")
    done = i2r("status", cropped, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: PYTHONPATH: {tmp_path}/{name}.py is imported in place of")


def plant(folder: Path, name: str, version: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("place", "name", "version", "expected"),
    [
        ("site", "numpy", "1.19.0", "version 1.19.0, i2r needs >=2.1"),
        ("site", "zarr", "2.18.0", "version 2.18.0, i2r needs"),
        ("python2.7/site-packages", "numpy", "2.2.0", "of python2.7"),
        ("site", "numpy", "2.2.0", ""),
        ("site", "somethingelse", "1.0", ""),
    ],
)
def test_only_what_i2r_can_not_use_is_refused(
    place: str, name: str, version: str, expected: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plant(tmp_path / place, name, version)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / place))
    monkeypatch.syspath_prepend(str(tmp_path / place))
    if not expected:
        surroundings.check_packages()
        return
    with pytest.raises(InputError) as error:
        surroundings.check_packages()
    assert expected in str(error.value)


def test_an_environment_that_is_a_pythonpath_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(surroundings.__file__).parents[1]))
    surroundings.check_packages()


# --------------------------------------------------------------------- streams


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_bug(closed: str, cropped: Path) -> None:
    done = shell(f"I2R status {cropped} {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_question_without_anybody_to_ask_is_a_line(cropped: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    done = shell(f"I2R table {cropped} crop --csv {tmp_path}/t.csv <&-")
    assert done.returncode == 2
    assert done.stderr.endswith("Give --yes to go on.\n")


def test_a_reader_that_leaves_ends_nothing(cropped: Path) -> None:
    for command in ("table {} crop --rows 0", "--help"):
        line = f"I2R {command.format(cropped)} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
        done = shell(line)
        assert (done.stdout, done.stderr) == ("0\n", ""), command


def test_a_full_disk_behind_the_output_is_a_line(cropped: Path) -> None:
    done = shell(f"I2R status {cropped} > /dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: standard output: No space left on device")
    assert shell(f"I2R status {cropped} 2> /dev/full").returncode == 0


def test_what_the_terminal_can_not_show_is_escaped(tmp_path: Path) -> None:
    done = i2r("status", tmp_path / "µm", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert r"\xb5m" in done.stderr


# --------------------------------------------------------------------- Dask's configuration


@pytest.mark.parametrize("content", [b"just a string", b"\xff\xfe\x00"])
def test_looking_needs_no_configuration_of_dask(
    content: bytes, cropped: Path, tmp_path: Path
) -> None:
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "a.yaml").write_bytes(content)
    script = (
        "import sys; from i2r.cli.group import run_command_line\n"
        f"sys.argv = ['i2r', 'COMMAND', {str(cropped)!r}]\n"
        "try: run_command_line()\nexcept SystemExit as left: print('code', left.code)\n"
    )
    for command, code in (("status", 0), ("table", 0), ("doctor", 2)):
        done = subprocess.run(
            [sys.executable, "-c", script.replace("COMMAND", command)],
            check=False, capture_output=True, text=True,
            env={**os.environ, "DASK_CONFIG": str(tmp_path / "dask")},
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == f"code {code}", (command, done.stderr)
        assert "Traceback" not in done.stderr
        if command == "doctor":
            assert f"{tmp_path}/dask/a.yaml" in done.stdout
        if content != b"just a string" and command == "status":
            break  # one kind is enough for all three


def test_a_run_on_workers_names_the_file(cropped: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("just a string")
    done = i2r("retry", cropped, "--yes", DASK_CONFIG=str(tmp_path / "a.yaml"))
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
    done = i2r("cluster", "up", write_local(tmp_path), DASK_CONFIG=str(tmp_path / "a.yaml"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "a.yaml") in line
    assert "Correct it" in line


def write_local(folder: Path) -> Path:
    path = folder / "local.yaml"
    path.write_text("type: local\ncpu: {n_workers: 1}\ngpu: {n_workers: 0}")
    return path
