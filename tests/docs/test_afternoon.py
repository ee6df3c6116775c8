"""The stage and the reader of the page 'An afternoon with i2r', installed and run as they stand."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tifffile

from i2r.testing import draw_field

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  - {stage: convert, source: images, layout: layout.csv, channels: {nuclei: DNA}, pixel_size_um: 1}
  - {stage: segment, channel: DNA}
  - {stage: brightness}
"""
SCRIPT = """
import i2r
i2r.run("pipeline.yaml", "e", cluster="none")
table = i2r.open_experiment("e").table("brightness")
assert list(table["well"]) == ["A01", "A02"], table
assert (table["ratio"] > 1.5).all(), table
"""


def list_files() -> dict[str, str]:
    """Give the page's files by name."""
    text = (ROOT / "i2r" / "docs" / "afternoon.md").read_text(encoding="utf-8")
    found = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", text, flags=re.M | re.S)
    return dict(found)


@pytest.mark.slow
def test_the_pages_package_works(tmp_path: Path) -> None:
    written = list_files()
    assert set(written) == {"pyproject.toml", "brightness.py", "lab.py"}
    for name, content in written.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    # What pip leaves behind; the network and a build are not what is tested.
    project = tomllib.loads(written["pyproject.toml"])["project"]
    info = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    images = tmp_path / "images"
    images.mkdir()
    lines = []
    for number, well in enumerate(("a1", "A02")):
        tifffile.imwrite(images / f"{number}.tif", draw_field(number)[0])
        lines.append(f"{number}.tif\t{well}\t1\tnuclei\n")
    (images / "images.txt").write_text("".join(lines))
    (tmp_path / "layout.csv").write_text(
        "well,perturbation,role\nA1,none,negative_control\nA2,x,treated\n"
    )
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False, cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
