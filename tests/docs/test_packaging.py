"""Containers, recipes and workflows name the versions, files and extras that the project has."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import i2r

ROOT = Path(i2r.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"torch": "pytorch-cpu", "dask": "dask-core", "matplotlib": "matplotlib-base"}
CONTAINERS = ["cluster/containers/Dockerfile", "cluster/containers/apptainer.def"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def list_requirements() -> list[Requirement]:
    texts = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["torch"]]
    return [Requirement(text) for text in texts]


def name_for_conda(requirement: Requirement) -> str:
    return CONDA.get(requirement.name, requirement.name)


def test_one_version_everywhere() -> None:
    recipe = yaml.safe_load(read(".github/conda-forge/recipe.yaml"))
    found = {
        "pyproject.toml": PROJECT["version"],
        "CITATION.cff": yaml.safe_load(read("CITATION.cff"))["version"],
        "codemeta.json": json.loads(read("codemeta.json"))["version"],
        "recipe.yaml": recipe["context"]["version"],
    }
    assert set(found.values()) == {i2r.__version__}, found
    assert f"## {i2r.__version__}" in read("CHANGELOG.md")


def test_the_pins_are_within_the_ranges() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", read("constraints.txt"), flags=re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for requirement in list_requirements():
        assert pins[requirement.name.lower()] in requirement.specifier, requirement


def test_the_conda_environment_has_every_dependency() -> None:
    conda = yaml.safe_load(read("environment.yml"))["dependencies"]
    found = {Requirement(line).name: Requirement(line).specifier for line in conda if "=*" not in line
             and not line.startswith("python=")}  # fmt: skip
    for requirement in list_requirements():
        assert found[name_for_conda(requirement)] == requirement.specifier


def test_the_recipe_has_every_dependency() -> None:
    wanted = yaml.safe_load(read(".github/conda-forge/recipe.yaml"))["requirements"]
    run = dict(line.split(" ", 1) for line in wanted["run"])
    run |= {"pytorch-cpu": dict(x.split(" ", 1) for x in wanted["run_constraints"])["pytorch"]}
    assert SpecifierSet(run.pop("python")) == SpecifierSet(PROJECT["requires-python"])
    expected = {name_for_conda(r): r.specifier for r in list_requirements()}
    assert {name: SpecifierSet(bounds) for name, bounds in run.items()} == expected


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_copy_and_install_what_exists(name: str) -> None:
    text = read(name)
    copied = re.findall(r"^COPY (.+) \S+$", text, flags=re.M)
    copied += re.findall(r"^ {4}(\S+) /opt/i2r/\S+$", text, flags=re.M)
    sources = {source for line in copied for source in line.split()}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= sources
    assert {"i2r", "pipelines", "cluster"} <= sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    for extras in re.findall(r"(?i)extras=([\w,]+)", text):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), extras
    (python,) = re.findall(r"(?i)^from:? python:(\d\.\d+)", text, flags=re.M)
    assert f"{python}.0" in SpecifierSet(PROJECT["requires-python"])


def test_the_workflow_tests_every_python_that_is_promised() -> None:
    workflow = yaml.safe_load(read(".github/workflows/checks.yaml"))
    tested = set(workflow["jobs"]["tests"]["strategy"]["matrix"]["python"])
    promised = {
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    }
    assert tested == promised
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    for target in set(re.findall(r"make ([\w-]+)", "\n".join(steps))):
        assert re.search(rf"^{target}:", read("Makefile"), flags=re.M), target


def test_pre_commit_runs_the_linter_that_is_pinned() -> None:
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    (ruff,) = [hook for hook in hooks if hook["repo"].endswith("ruff-pre-commit")]
    assert f"ruff=={ruff['rev'].removeprefix('v')}\n" in read("constraints.txt")


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_ranges_resolve_on_every_python(python: str) -> None:
    """Wheels of every dependency exist for it; no interpreter is needed to find that out."""
    uv = Path(sys.executable).with_name("uv")
    extras = [f"--extra={name}" for name in PROJECT["optional-dependencies"] if name != "cuda"]
    done = subprocess.run(
        [str(uv), "pip", "compile", "--quiet", "--no-header", f"--python-version={python}",
         "--only-binary=:all:", *extras, "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and re.search(r"error sending request|connect|timed out", done.stderr):
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^torch==", done.stdout, flags=re.M)
