"""What stages say that they write: tables with their columns, images, labels, crops, networks."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

Kind = Literal["text", "whole number", "number", "yes or no", "list"]
_KINDS: Mapping[str, Kind] = {
    "text": "text", "whole": "whole number", "number": "number", "flag": "yes or no",
    "list": "list",
}  # fmt: skip


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    name
        With parts in braces where there is one per channel, feature or dimension.
    kind, unit
        Of its values; the unit is empty where there is none.
    text
        What it says.
    sometimes
        Whether some options or inputs give none.
    """

    name: str
    kind: Kind
    unit: str
    text: str
    sometimes: bool = False

    def matches(self, name: str) -> bool:
        """Tell whether a column of a file is this one."""
        parts = (re.escape(part) for part in re.split(r"\{\w+\}", self.name))
        return re.fullmatch(".+".join(parts), name) is not None


class Table(NamedTuple):
    """A table that a stage writes.

    Attributes
    ----------
    suffix
        What follows the stage's name: the table is ``<name><suffix>``.
    text
        What a row is.
    columns
        All of them, in the order of the documentation.
    sometimes
        Whether some options or inputs give no such table.
    """

    suffix: str
    text: str
    columns: tuple[Column, ...]
    sometimes: bool = False

    def find_column(self, name: str) -> Column | None:
        """Find the column that a name in a file belongs to; exact names come first."""
        named = [column for column in self.columns if column.name == name]
        return next(iter(named or [c for c in self.columns if c.matches(name)]), None)


class Files(NamedTuple):
    """Something else that a stage writes: where, and what it is."""

    what: str
    place: str
    text: str


Output = Table | Files

# Columns that mean the same in every table.
_COMMON = """
plate: text: Name of the plate
well: text: Name of the well, such as B03
field: text: Name of the field, in its well
channel: text: Name of the channel
label: whole: Number of the nucleus in the field's label image
crop: whole: Index of the nucleus among the well's crops; -1 for none
condition: text: Perturbation, with its dose where there are several
perturbation: text: What the layout says was done to the well
gene: text: Symbol of the gene
dose: number: Dose, in the layout's unit; missing where there is none
replicate: text: Replicate, as the layout says
role: text: treated, negative_control, positive_control or empty
is_treated: flag: Whether the row is of the perturbation, and not of its controls
n_nuclei: whole: Number of nuclei
n_wells: whole: Number of wells
seed: whole: Seed of the training
encoder: text: Name of the encoder; empty where there is one
class: text: What the encoder's training called the wells: condition or gene
view: text: What the network was shown
fold: whole: Number of the fold that was held out, from 0
without: text: What was left out of the view; empty for nothing
p_value: number: p-value of the test; missing where none was made
fdr: number: False discovery rate (Benjamini and Hochberg)
rank: number: Place of the true gene, from 1
method: text: Name of the method
selection: text: How the shown genes were selected
reason: text: Why; empty for no reason
candidate: text: Symbol of a gene that could be the answer
cluster: whole: Number of the cluster
e{i}: number: Coordinate i of the embedding
{feature}: number: A feature's mean, in the feature's unit; see the features page of the reference
note: text: What else there is to know of the row
cost: number: Cost of the interaction; low for a sure one
prize: number: What the tree gains by holding the gene
terminal: flag: Whether the gene is a target, which has a prize
"""


def table(suffix: str, text: str, columns: str, *, sometimes: bool = False) -> Table:
    """Declare a table.

    Parameters
    ----------
    suffix, text, sometimes
        See `Table`.
    columns
        A line per column: ``name: kind unit: what it says``, kind being text, whole, number, flag
        or list. Lines without a colon list columns that mean the same in every table. A question
        mark after a name says that some options or inputs give no such column.
    """
    return Table(suffix, text, tuple(_parse(columns, _SHARED)), sometimes)


def _parse(text: str, shared: Mapping[str, Column]) -> Iterator[Column]:
    for line in filter(None, map(str.strip, text.splitlines())):
        if ":" not in line:
            for word in line.split():
                name = word.removesuffix("?")
                yield shared[name]._replace(sometimes=word.endswith("?"))
            continue
        word, described, sentence = (part.strip() for part in line.split(":", 2))
        kind, _, unit = described.partition(" ")
        name = word.removesuffix("?")
        yield Column(name, _KINDS[kind], unit, sentence, word.endswith("?"))


_SHARED = {column.name: column for column in _parse(_COMMON, {})}


def list_tables(outputs: Iterable[Output]) -> list[Table]:
    """Give the tables among a stage's outputs."""
    return [output for output in outputs if isinstance(output, Table)]
