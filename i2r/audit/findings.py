"""What an audit answers, and how certain and large something has to be for that."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Verdict = Literal["sound", "noted", "leak", "open"]

# What is certain enough to be said: with eight questions a sound table is flagged in 5 of 100.
CERTAIN = 0.01
LEVEL = 0.05
PLAN_MORE = "Plan 16 control wells per plate."


class Finding(NamedTuple):
    """The answer to one question.

    Attributes
    ----------
    name : str
        Of the question, for programs.
    title : str
        For people.
    verdict : str
        ``sound``; ``noted`` (it is there, and small or harmless); ``leak`` (results suffer);
        ``open`` (this table and layout can't tell).
    words, advice : str
        What was found, and what to do.
    numbers : dict
        The figures behind it.
    """

    name: str
    title: str
    verdict: Verdict
    words: str
    advice: str = ""
    numbers: Mapping[str, Any] = {}
