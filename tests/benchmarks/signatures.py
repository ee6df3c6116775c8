"""Expression signatures of over-expressed genes, mapped to a real interactome: genes left out.

``python -m tests.benchmarks.signatures`` needs ``I2R_DATA``. Inputs are the L1000 signatures of the
TA-ORF screen (Rohban et al. 2017, doi:10.7554/eLife.24060; U2OS, 72 h; mean per gene over all its
constructs, minus that of empty vectors). The network is cut from iRefIndex v14 as published: genes
expressed in U-2 OS, cost below 0.594, hubs above the 0.999 quantile of degrees removed, largest
component; then the links among the genes on a cheap tree through all genes with a signature and
the 100 genes that differ most between U-2 OS and other lines.
"""

import os
import tempfile
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from networkx.algorithms.approximation import steiner_tree

from i2r.cluster import ClusterSpec
from i2r.pipeline.run import run_pipeline
from i2r.pipeline.spec import parse_pipeline
from i2r.store.experiment import open_experiment
from i2r.store.networks import write_network

MAX_COST, HUB_QUANTILE, DIFFERENT = 0.594, 0.999, 100


def read_signatures(folder: Path) -> pd.DataFrame:
    """Average signatures by gene: gene, then landmark genes."""
    samples = pd.read_csv(folder / "l1000_u2os_72h_samples.csv").set_index("id")
    values = pd.read_csv(folder / "l1000_u2os_72h_zspcqnorm_978x1092.csv.gz", index_col=0).T
    samples = samples.loc[values.index]
    control = values[samples["pert_type"] == "ctl_vector"].mean()
    treated = samples["pert_type"] == "trt_oe"
    genes = samples.loc[treated, "x_genesymbol_mutation"].str.partition("_")[0].str.upper()
    means = (values[treated] - control).groupby(genes.to_numpy()).mean()
    return means.rename_axis("gene").reset_index()


def read_expression(folder: Path) -> pd.DataFrame:
    """Read expression per line, log2(NX + 1), by symbol; of several rows the first."""
    table = pd.read_csv(folder / "hpa_celline_nx_69lines.csv.gz").dropna(subset=["symbol"])
    table["symbol"] = table["symbol"].str.upper()
    numbers = table.drop_duplicates("symbol").set_index("symbol").drop(columns="ensembl_gene_id")
    return np.log2(numbers.astype(float).fillna(0) + 1)


def cut_network(folder: Path, expression: pd.DataFrame, perturbed: set[str]) -> nx.Graph:
    """Cut the network around the perturbed genes."""
    links = pd.read_csv(folder / "iRefIndex_v14_MIScore_interactome_C9.costs.txt.gz", sep="\t")
    expressed = set(expression.index[expression["U-2 OS"] > 1])
    kept = links["protein1"].isin(expressed) & links["protein2"].isin(expressed)
    kept &= (links["cost"] < MAX_COST) & (links["protein1"] != links["protein2"])
    graph = nx.from_pandas_edgelist(links[kept], "protein1", "protein2", "cost")
    graph = graph.subgraph(max(nx.connected_components(graph), key=len)).copy()
    degrees = pd.Series(dict(graph.degree()))
    graph.remove_nodes_from(degrees.index[degrees > degrees.quantile(HUB_QUANTILE)])
    graph = graph.subgraph(max(nx.connected_components(graph), key=len)).copy()
    others = expression.drop(columns="U-2 OS").mean(axis=1)
    change = (expression["U-2 OS"] - others).abs()
    change = change[change.index.isin(list(graph))].sort_values(ascending=False, kind="stable")
    terminals = sorted((perturbed & set(graph)) | set(change.index[:DIFFERENT]))
    tree = steiner_tree(graph, terminals, weight="cost", method="mehlhorn")
    network = graph.subgraph(tree.nodes).copy()
    for gene in network:
        network.nodes[gene].update(prize=float(change.get(gene, 0.0)), terminal=gene in terminals)
    return network


def map_signatures() -> None:
    """Print how well genes are found by their signatures, against shuffled links."""
    data = Path(os.environ["I2R_DATA"])
    signatures = read_signatures(data / "rohban2017_taorf")
    expression = read_expression(data / "u2os_expression")
    network = cut_network(data / "interactome", expression, set(signatures["gene"]))
    print(
        f"\nL1000 signatures of {len(signatures)} genes; network of {len(network)} genes and "
        f"{network.number_of_edges()} links holds {len(set(signatures['gene']) & set(network))}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signatures.to_csv(folder / "signatures.csv", index=False)
        features = expression.loc[sorted(set(network) & set(expression.index))]
        features.rename_axis("gene").reset_index().to_csv(folder / "features.csv", index=False)
        write_network(str(folder / "network.graphml"), network)
        hallmark = str(data / "genesets" / "msigdb_hallmark_v7.0_symbols.gmt")
        common = {
            "network": "network.graphml",
            "features": "features.csv",
            "feature_sets": hallmark,
        }
        cases = {
            "autoencoder": common,
            "spectral": {"method": "spectral", "network": "network.graphml"},
            "autoencoder with labels from signatures": {
                **common, "labels": "clusters", "label_source": "signatures.csv", "seeds": 2,
            },
        }  # fmt: skip
        for case, options in cases.items():
            started = time.perf_counter()
            content = {
                "stages": [
                    {"stage": "genes", **options, "gene_sets": [hallmark]},
                    {"stage": "map", "signatures": "signatures.csv", "published_grid": False},
                    {"stage": "predict", "queries": "signatures.csv"},
                ]
            }
            target = str(folder / case)
            summary = run_pipeline(
                parse_pipeline(content, where="signatures", folder=name), target,
                cluster=ClusterSpec(type="none"), style="none",
            )  # fmt: skip
            assert summary.exit_code == 0
            experiment = open_experiment(target)
            print(f"\n{case} ({time.perf_counter() - started:.0f} s, one process)")
            columns = ["method", "selection", "median_rank", "top_decile", "log_score"]
            columns += ["log_score_chance", "auc_50", "p_chance", "p_permutation"]
            print(experiment.table("map-scores")[columns].round(4).to_string(index=False))
            queries = experiment.table("predict-queries")
            abstained = (queries["answer"] == "abstained").mean()
            print(f"abstained from {abstained:.0%} of genes")


if __name__ == "__main__":
    map_signatures()
