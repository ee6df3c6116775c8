"""Say which gene was perturbed in new images, how sure that is, or that it can't be said."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.errors import I2RError, InputError
from i2r.kernels.mapping import Configuration
from i2r.lazy.gene_mapping import Problem, extend_candidates, pose_problem
from i2r.lazy.gene_prediction import Queries, predict_genes
from i2r.stages.base import WHOLE, Stage, seed_sequence
from i2r.store import signatures, tables
from i2r.store.experiment import Experiment
from i2r.store.gene_tables import digest_files, read_frame, read_vectors


class Predict(Stage):
    """Predict which gene was perturbed, from embeddings of images.

    Queries are the perturbations of the embed stage, or the rows of the file 'queries' (columns
    'query', optionally 'gene', and numbers as the map learned from). Each gets its genes ranked,
    with the calibrated probability that the true one is at a place or before it and the set that
    holds it with the probability 'level', or no answer: where the map finds left-out genes no
    better than shuffled links do, or the genes that a query resembles do not agree. A query of a
    gene that the map learned from is answered by a map without that gene.

    Example: i2r predict EXPERIMENT --queries new_embeddings.csv, then i2r table EXPERIMENT predict,
    and predict-queries for one row per query.
    """

    stage: Literal["predict"] = "predict"
    queries: str = Field(
        "",
        description="Table of embeddings to ask about: query, gene (optional) and numbers "
        "(default: all perturbations of the embed stage)",
        json_schema_extra={"path": True},
    )
    by: Literal["perturbation", "well"] = Field(
        "perturbation", description="A query of the embed stage is a perturbation, or a well"
    )
    candidates: str = Field(
        "",
        description="Table of features (gene and numbers) of genes of the network and of others: "
        "the others become candidates too",
        json_schema_extra={"path": True},
    )
    level: float = Field(0.9, gt=0, lt=1, description="Probability that a set holds the gene")
    alpha: float = Field(0.05, gt=0, lt=1, description="Abstain where a p-value is above this")
    permutations: int = Field(199, ge=19, description="Shuffled links for each query")
    top: int = Field(50, ge=1, description="Candidates listed per query")
    seed: int = Field(0, ge=0, description="Seed of shuffled links (default: the pipeline's)")

    reads: ClassVar[Mapping[str, bool]] = {"map": True, "genes": True, "embed": False}
    layout_columns: ClassVar[tuple[str, ...]] = ("perturbation", "gene", "role", "dose")

    def check(self, experiment: Experiment) -> list[str]:
        """Refuse to run without queries, or with a table that can't be read."""
        where = f"stage {self.title!r}"
        if not self.queries and len(self.needs) < 3:
            return [f"{where}: nothing to predict. Set 'queries', or add a stage 'embed'."]
        problems = []
        for read, url in ((read_queries, self.queries), (read_vectors, self.candidates)):
            try:
                if url:
                    read(url)
            except I2RError as error:
                problems.append(f"{where}: {error}")
        return problems

    def whole_layout(self, experiment: Experiment) -> object:
        """Wells matter only where they are the queries."""
        return [] if self.queries else super().whole_layout(experiment)

    def outside(self, experiment: Experiment) -> object:
        """Give the content of the tables."""
        return digest_files(self.queries, self.candidates)

    def keys(self, experiment: Experiment) -> list[str]:
        """One unit: all queries."""
        return [WHOLE]

    def used_keys(self, experiment: Experiment, key: str, upstream: Stage) -> None:
        """Everything of the stages before."""
        return

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Answer all queries."""
        map_stage, genes = self.needs[:2]
        wells = (
            [] if self.queries else list_query_wells(experiment, self.needs[2], self.by == "well")
        )
        return delayed(write_predictions)(
            self.model_dump(exclude={"needs", "name", "stage"}),
            wells=wells,
            sources={
                "inputs": experiment.table_url(f"{map_stage}-inputs"),
                "scores": experiment.table_url(f"{map_stage}-scores"),
                "regulatory": experiment.table_url(genes),
                "held_out": experiment.table_url(f"{genes}-heldout"),
            },
            seed=seed_sequence(self.seed, "predict", key),
            urls=(
                experiment.part_url(self.title, key),
                experiment.table_url(f"{self.title}-queries"),
            ),
        )

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """As the map, and the embeddings of one well at a time."""
        return 2**30


class QueryWell(NamedTuple):
    """A well of a query."""

    query: str
    gene: str
    url: str


def list_query_wells(experiment: Experiment, embed: str, by_well: bool) -> list[QueryWell]:
    """List the embedded wells that are no negative controls and not empty, with their query."""
    layout = experiment.layout_by_key
    done = layout.index.isin(list(experiment.ledger.done_keys(embed)))
    asked = layout[layout["role"].isin(["treated", "positive_control"]) & done]
    return [
        QueryWell(
            str(key) if by_well else str(condition),
            str(gene).upper(),
            experiment.embeddings_url(embed, str(key)),
        )
        for key, condition, gene in zip(
            asked.index, asked["condition"], asked["gene"].fillna(""), strict=True
        )
    ]


def read_queries(url: str) -> tuple[Queries, list[str]]:
    """Read queries, and the names of their columns of numbers.

    Raises
    ------
    InputError
        If there is no name for a query, a name comes twice, or a value is missing.
    """
    table = read_frame(url)
    named = next((name for name in ("query", "perturbation", "gene") if name in table), None)
    if named is None:
        raise InputError(f"{url}: no column 'query' or 'gene'. Name the rows in one of them.")
    names = table[named].astype(str).str.strip().tolist()
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{url}: query {repeated[0]!r} comes twice. Give one row per query.")
    genes = table["gene"].fillna("") if "gene" in table else pd.Series([""] * len(table))
    columns = [name for name in table if name not in ("query", "perturbation", "gene")]
    numbers = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(numbers).all() or not columns or not names:
        raise InputError(
            f"{url}: {int((~np.isfinite(numbers)).sum())} of {numbers.size} values are no finite "
            "numbers, expected query, gene and numbers. Fill them or leave the rows out."
        )
    symbols = genes.astype(str).str.strip().str.upper().tolist()
    return Queries(names, symbols, numbers), [str(name) for name in columns]


def write_predictions(
    options: Mapping[str, Any],
    *,
    wells: Sequence[QueryWell],
    sources: Mapping[str, str],
    seed: np.random.SeedSequence,
    urls: tuple[str, str],
) -> dict[str, Any]:
    """Answer all queries and write the answers."""
    inputs, metadata = tables.read_table_with_metadata(sources["inputs"])
    regulatory = tables.read_table(sources["regulatory"])
    if inputs["gene"].duplicated().any():
        raise InputError(
            "predict: the map learned from encoders that each leave a gene out, which see a new "
            "image in as many ways. Add an embed stage with one encoder and a map of it."
        )
    further = None
    if options["candidates"]:
        features = read_vectors(options["candidates"])
        network = regulatory["gene"].astype(str).str.upper().tolist()
        further = extend_candidates(features.genes, features.values, network)
    problem = pose_problem(
        inputs["gene"].tolist(),
        inputs.drop(columns="gene").to_numpy(dtype=float),
        regulatory,
        tables.read_table(sources["held_out"]),
        names=[name for name in inputs if name != "gene"],
        further=further,
    )
    p_map = float(tables.read_table(sources["scores"])["p_permutation"].iloc[0])
    answers = predict_genes(
        problem,
        [Configuration(*values) for values in metadata["configurations"]],
        _gather_queries(options["queries"], wells, problem),
        correct=bool(metadata["correct"]),
        p_map=p_map,
        level=options["level"],
        alpha=options["alpha"],
        draws=options["permutations"],
        top=options["top"],
        seed=seed,
    )
    tables.write_table(urls[1], answers.queries)
    tables.write_table(urls[0], answers.ranked)
    abstained = int((answers.queries["answer"] == "abstained").sum())
    return {"queries": len(answers.queries), "abstained": abstained}


def _gather_queries(url: str, wells: Sequence[QueryWell], problem: Problem) -> Queries:
    """Read the queries, their columns in the order of the map's."""
    if url:
        queries, columns = read_queries(url)
        missing = [name for name in problem.names if name not in columns]
        if missing:
            raise InputError(
                f"{url}: lacks {len(missing)} of the {len(problem.names)} columns that the map "
                f"learned from, such as {missing[0]!r}. Make it as the training table was made."
            )
        order = [columns.index(name) for name in problem.names]
        return queries._replace(x=queries.x[:, order])
    averaged = signatures.average_wells([w.url for w in wells], [w.query for w in wells])
    genes: dict[str, str] = {}
    for well in wells:
        genes[well.query] = well.gene
    return Queries(averaged.genes, [genes[name] for name in averaged.genes], averaged.values)
