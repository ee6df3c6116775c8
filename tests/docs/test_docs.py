"""The documents tell the truth: options, messages and commands are those of the code."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import i2r
from i2r.cli import dictionary
from i2r.cli.group import COMMANDS
from i2r.cli.reference import TARGET, write_reference
from i2r.stages.base import list_own_verbs, list_verbs

PACKAGE = Path(i2r.__file__).parent
DOCS = PACKAGE / "docs"


def test_the_reference_is_what_the_code_says() -> None:
    assert TARGET.read_text(encoding="utf-8") == write_reference(), (
        "out of date; run: python -m i2r.cli.reference"
    )


def test_the_dictionary_of_tables_is_what_the_stages_say() -> None:
    assert dictionary.TARGET.read_text(encoding="utf-8") == dictionary.write_dictionary(), (
        "out of date; run: python -m i2r.cli.reference"
    )


def test_the_reference_has_every_option_of_every_stage() -> None:
    from i2r.stages.base import Stage, find_stage

    text = TARGET.read_text(encoding="utf-8")
    for verb in list_own_verbs():
        section = text.partition(f"\n### {verb}\n")[2].partition("\n### ")[0]
        own = set(find_stage(verb).model_fields) - set(Stage.model_fields)
        assert {name for name in own if f"| `{name}` |" not in section} == set()
    for command in COMMANDS:
        assert f"\n### i2r {command}" in text


@cache
def list_texts() -> list[str]:
    """Give all texts of the code, with a mark where a value is put in."""
    texts = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "\0" for p in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def list_messages() -> list[str]:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^### `(.+)`$", text, flags=re.M)


@pytest.mark.parametrize("message", list_messages())
def test_every_message_explained_is_one_that_i2r_says(message: str) -> None:
    words = [re.escape(part.strip()) for part in message.split("…") if part.strip(" :,.()")]
    assert words, "nothing to look for"
    pattern = re.compile(".*?".join(words), flags=re.S)
    assert any(pattern.search(text) for text in list_texts())


def test_enough_messages_are_explained() -> None:
    assert len(list_messages()) >= 25


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_commands_and_links_in_a_page_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    known = {*COMMANDS, *list_verbs()}
    used = set(re.findall(r"`i2r ([a-z][a-z-]+)", text))
    assert used <= known
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (DOCS / target).exists(), f"{page} links to {target}"
