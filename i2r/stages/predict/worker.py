"""What a unit of `i2r.stages.predict` does on a worker: profiles of queries, and their answers.

This is not a stage.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from i2r.analysis.regulation.gene_inputs import translate_vectors
from i2r.analysis.regulation.gene_mapping import extend_candidates, list_candidates, pose_problem
from i2r.analysis.regulation.gene_prediction import describe_answers, predict_genes
from i2r.analysis.regulation.map_scores import tabulate_query_curves
from i2r.analysis.regulation.queries import arrange_profiles
from i2r.analysis.regulation.query_wells import QueryWells, average_queries, read_queries
from i2r.formats.gene_tables import read_vectors
from i2r.kernels.mapping import Configuration
from i2r.stages.predict.references import Reference, relate_profiles
from i2r.store import tables
from i2r.store.experiment import Experiment
from i2r.store.vocabulary import read_vocabulary, translate

# Nearest genes that curves of queries end with, as published.
K_MAX = 50


def read_origin(experiment: Experiment, map_stage: str) -> dict[str, Any]:
    """Read what a map learned from: profiles, stage, encoders by gene."""
    _, metadata = tables.read_table_with_metadata(experiment.table_url(f"{map_stage}-inputs"))
    return metadata


def write_profiles(queries: str, wells: QueryWells | None, *, url: str) -> dict[str, Any]:
    """Write the profiles of queries that are a table, or wells of the experiment."""
    tables.write_table(url, read_queries(queries) if wells is None else average_queries(wells))
    return {}


def write_predictions(
    options: Mapping[str, Any],
    *,
    where: str,
    profiles: Sequence[str],
    controls: str,
    reference: Reference | None,
    calls: Mapping[str, bool],
    silent: Sequence[str],
    sources: Mapping[str, str],
    seed: np.random.SeedSequence,
    urls: tuple[str, str, str],
) -> dict[str, Any]:
    """Answer all queries and write the answers."""
    inputs, metadata = tables.read_table_with_metadata(sources["inputs"])
    regulatory = tables.read_table(sources["regulatory"])
    symbols = read_vocabulary(sources["vocabulary"])
    further = None
    if options["candidates"]:
        features = translate_vectors(read_vectors(options["candidates"]), symbols)
        said = list_candidates(regulatory)
        network = regulatory["gene"][said].astype(str).str.upper().tolist()
        further = extend_candidates(features.genes, features.values, network)
    names = [name for name in inputs if name != "gene"]
    genes = inputs["gene"].drop_duplicates().tolist()
    x = inputs[names].to_numpy(dtype=float)
    problem = pose_problem(
        genes,
        x if len(x) == len(genes) else x.reshape(len(genes), len(genes), -1),
        regulatory,
        tables.read_table(sources["held_out"]),
        names=names,
        further=further,
    )
    table = tables.concatenate([tables.read_table(url) for url in profiles])
    compared = ""
    if reference is not None:
        # A folder with the name of a gene holds images of that gene.
        named = table["query"].str.rpartition("/")[2].map(lambda name: translate(name, symbols))
        table["gene"] = named.where(named.isin(problem.candidates), "")
        new = tables.read_table(controls) if controls else None
        table, compared = relate_profiles(table, names, new, reference, where=where)
    table["gene"] = [translate(name, symbols) or name for name in table["gene"].astype(str)]
    queries = arrange_profiles(
        table,
        names,
        encoders=metadata["encoders"],
        genes=problem.genes,
        where=where,
    )
    answers = predict_genes(
        problem,
        [Configuration(*values) for values in metadata["configurations"]],
        queries,
        correct=bool(metadata["correct"]),
        uncalled=silent,
        p_map=float(tables.read_table(sources["scores"])["p_permutation"].iloc[0]),
        level=options["level"],
        alpha=options["alpha"],
        draws=options["permutations"],
        top=options["top"],
        seed=seed,
    )
    counts = table.drop_duplicates("query").set_index("query")["n_nuclei"].astype(float)
    names_of = answers.queries["query"]
    described = answers.queries.assign(
        n_nuclei=names_of.map(counts),
        compared_with=compared,
        # Missing where no screen was asked.
        impactful=pd.array([calls.get(name) for name in names_of], dtype="boolean"),
    )
    tables.write_table(urls[1], described)
    tables.write_table(urls[0], answers.ranked)
    tables.write_table(urls[2], tabulate_query_curves(answers.queries, K_MAX))
    abstained = int((answers.queries["answer"] == "abstained").sum())
    notes = describe_answers(answers, level=options["level"])
    return {"queries": len(answers.queries), "abstained": abstained, "notes": notes}
