"""Values in templates."""

import jinja2
import pandas as pd
import pytest

from i2r.errors import count_words
from i2r.report import html


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567.0, "1,234,567"), (0.12345, "0.123"), (123.456, "123"), (5432.1, "5,432"),
     (1e-5, "1e-05"), (float("nan"), html.MISSING), (float("inf"), html.MISSING), (None, html.MISSING)],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert html.number(value) == text


def test_counts_have_a_noun() -> None:
    assert [count_words(n, "nucleus", "nuclei") for n in (0, 1, 2)] == [
        "0 nuclei",
        "1 nucleus",
        "2 nuclei",
    ]


def test_values_are_escaped() -> None:
    assert html.fill("<b>{{ name }}</b>", name="<i>") == "<b>&lt;i&gt;</b>"
    frame = pd.DataFrame({"<h>": ["<i>"], "n": [1.5]})
    made = html.table(frame, "<c>")
    assert "<i>" not in made
    assert "<h>" not in made
    assert "<c>" not in made


def test_a_value_that_was_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        html.fill("{{ name }}")


def test_tables_keep_full_values_for_sorting() -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "s": [0.98765, float("nan")], "n": [10, 5]})
    made = html.table(frame, "caption", bars=("n",), scores=("s",))
    assert 'data-value="0.98765">0.988</td>' in made
    assert f'data-value="nan">{html.MISSING}</td>' in made
    assert "width:100.0%" in made
    assert "width:50.0%" in made


def test_a_table_without_rows() -> None:
    assert "<tbody>" in html.table(pd.DataFrame({"n": pd.Series(dtype=float)}), "none", bars=("n",))
