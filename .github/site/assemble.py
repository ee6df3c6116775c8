"""Build the documentation site: ``python .github/site/assemble.py dist/site``.

Pages are those of the repository, so nothing is written twice: this copies them into one folder,
turns links between them into links between pages and all other links into ones to the repository,
and runs Sphinx with warnings as errors. Nothing is fetched.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import i2r

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
REPOSITORY = "https://github.com/i2r-project/i2r/blob/main/"

# Where pages of the repository stand in the site. Notebooks stay where they are, beside a copy of
# the pipelines that they run.
PAGES = {
    ".github/site/index.md": "index.md",
    "README.md": "overview.md",
    "cluster/README.md": "clusters.md",
    "pipelines/notebooks/segmentation.md": "segmentation.md",
    "pipelines/notebooks/segmenters/README.md": "segmenters.md",
    "i2r/ARCHITECTURE.md": "architecture.md",
    "i2r/DECISIONS.md": "decisions.md",
    "CHANGELOG.md": "changelog.md",
    ".github/CONTRIBUTING.md": "contributing.md",
}
# In code, brackets are no links.
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", flags=re.M | re.S)
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)((?:#[^)]*)?)(?=\))")


def list_pages() -> dict[str, str]:
    """Map the repository's paths of all pages to those in the site."""
    found = dict(PAGES)
    for path in sorted((ROOT / "i2r" / "docs").glob("*.md")):
        found[str(path.relative_to(ROOT))] = path.name
    for path in sorted((ROOT / "pipelines" / "notebooks").glob("*.ipynb")):
        found[str(path.relative_to(ROOT))] = str(path.relative_to(ROOT))
    return found


def rewrite_links(text: str, path: str, pages: dict[str, str]) -> str:
    """Turn links that hold in the repository into links that hold in the site.

    Raises
    ------
    FileNotFoundError
        If a link leads nowhere.
    """

    def rewrite(match: re.Match[str]) -> str:
        target, anchor = match.groups()
        whole = (ROOT / path).parent.joinpath(target).resolve()
        if not whole.exists():
            raise FileNotFoundError(f"{path} links to {target}, which does not exist")
        name = str(whole.relative_to(ROOT))
        if name in pages:
            return os.path.relpath(pages[name], Path(pages[path]).parent) + anchor
        if whole.suffix == ".png":
            return whole.name
        return REPOSITORY + name + anchor

    parts = CODE.split(text)
    return "".join(part if n % 2 else LINK.sub(rewrite, part) for n, part in enumerate(parts))


def write_api() -> str:
    """Write the page of the public interface, from what the package offers."""
    lines = ["# Python interface", "", "Everything here is imported from `i2r`.", ""]
    for name in i2r.__all__:
        if name.startswith("__"):
            continue
        value = getattr(i2r, name)
        kind = "autoclass" if isinstance(value, type) else "autofunction"
        members = [":members:", ":inherited-members:"] if name in ("Experiment", "Plate") else []
        lines += [f"## {name}", "", "```{eval-rst}", f".. {kind}:: i2r.{name}"]
        lines += [f"   {option}" for option in members]
        lines += ["```", ""]
    return "\n".join(lines)


def assemble(folder: Path) -> None:
    """Put the site's sources together in an empty folder."""
    pages = list_pages()
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    for path, name in pages.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        if name.endswith(".md"):
            text = rewrite_links(text, path, pages)
        (folder / name).write_text(text, encoding="utf-8")
    for picture in (ROOT / "i2r" / "docs").glob("*.png"):
        shutil.copy(picture, folder)
    index = (folder / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[\w-]+$", index, flags=re.M)
    others = sorted(p.stem for p in folder.glob("*.md") if p.stem not in {*listed, "index"})
    (folder / "index.md").write_text(index.replace("{others}", "\n".join(others)), encoding="utf-8")
    (folder / "api.md").write_text(write_api(), encoding="utf-8")
    shutil.copy(HERE / "conf.py", folder)


def main() -> None:
    """Build the site in the folder that is named."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        assemble(Path(scratch) / "source")
        subprocess.run(
            [
                *(sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"),
                *("-b", "html", "-d", f"{scratch}/doctrees", f"{scratch}/source", str(target)),
            ],
            check=True,
        )
    print(f"{target}/index.html")


if __name__ == "__main__":
    main()
