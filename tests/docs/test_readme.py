"""The README's own commands, run as a newcomer would, on a folder of images."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tifffile

from i2r.testing import draw_field

ROOT = Path(__file__).parents[2]
# What the README calls the reader's own folder: the folder names the plate.
SOURCE = "/data/P1"
WELLS = [f"{row}{column:02d}" for row in "AB" for column in range(1, 5)]


def list_blocks() -> list[tuple[str, str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.M | re.S)


def write_images(folder: Path) -> None:
    """Write a plate with file names as in the README's pattern."""
    folder.mkdir()
    for number, well in enumerate(WELLS):
        for field in (1, 2):
            gain = 2.5 if number % 2 else 1.0
            plane = draw_field(10 * number + field, gain=gain)[0]
            tifffile.imwrite(folder / f"{well}_s{field}_w1.tif", plane)


def fill_in(layout: Path) -> None:
    """Do step 1: say what is in the wells."""
    table = pd.read_csv(layout)
    treated = [number % 2 == 1 for number in range(len(table))]
    table["perturbation"] = ["active" if t else "control" for t in treated]
    table["role"] = ["treated" if t else "negative_control" for t in treated]
    table.to_csv(layout, index=False)


def run(command: str, folder: Path) -> None:
    """Run one command line of the README as it stands there, comments and all."""
    words = shlex.split(command.replace(SOURCE, str(folder / "P1")), comments=True)
    match words:
        case []:
            return
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)
        case ["open" | "xdg-open", path]:
            assert (folder / path).stat().st_size > 10_000
        case ["i2r", verb, *rest]:
            quiet = ["--cluster", "none", "--progress", "none"] if verb == "run" else []
            done = subprocess.run(
                [sys.executable, "-m", "i2r", verb, *rest, *quiet],
                check=False, cwd=folder, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        case _:
            raise AssertionError(f"nobody checks this line of the README: {command}")


@pytest.mark.slow
def test_a_newcomer_gets_through(tmp_path: Path) -> None:
    write_images(tmp_path / "P1")
    ran = set()
    for language, block in list_blocks():
        if language == "sh":
            for command in block.replace("\\\n", " ").splitlines():
                run(command, tmp_path)
                if command.startswith("i2r init"):
                    fill_in(tmp_path / "screen" / "layout.csv")
                    pipeline = tmp_path / "screen" / "pipeline.yaml"
                    # Step 2: the pixel size.
                    text = pipeline.read_text().replace("pixel_size_um: 0.65", "pixel_size_um: 1.2")
                    assert "1.2" in text
                    pipeline.write_text(text)
                ran.add(command.partition(" ")[0])
        elif language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block],
                check=False, cwd=tmp_path, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            ran.add(language)
    assert {"i2r", "make", "python"} <= ran


def test_every_block_says_its_language() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)", text, flags=re.M)
    assert len(fences) % 2 == 0
    assert all(not closing for closing in fences[1::2])


def test_every_link_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target


def test_every_command_of_the_tables_exists() -> None:
    from i2r.cli.group import COMMANDS
    from i2r.stages.base import list_verbs

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"`i2r ([a-z][a-z-]+)", text))
    assert used <= {*COMMANDS, *list_verbs()}
