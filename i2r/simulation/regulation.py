"""The regulation side of a simulated screen: a network with modules, and what follows from them.

Genes of a module are linked to each other, are expressed together, and change images alike when
they are perturbed. A map from images to the network can then be judged by planted truth, and with
shuffled links by the lack of it.
"""

import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from i2r.errors import InputError, join_problems
from i2r.store import files
from i2r.store.networks import write_network

# Of links, as in interactomes whose cost is one minus a confidence.
_COST_RANGE = (0.05, 0.85)


class RegulationDesign(NamedTuple):
    """What to simulate.

    Attributes
    ----------
    genes
        Genes of the network.
    modules
        Modules of (nearly) equal size.
    perturbed
        Genes with a perturbation embedding, spread evenly over the modules.
    links, cross_links
        Mean number of links of a gene within its module and to others.
    cells
        Cells whose expression is measured.
    dimensions
        Length of a perturbation embedding.
    noise
        Standard deviation of what is particular to a gene's perturbation embedding and of its
        measurement together, relative to the length of its module's effect.
    linked
        False deals the perturbation embeddings to the perturbed genes at random.
    seed
        Decides everything that is random.
    """

    genes: int = 240
    modules: int = 12
    perturbed: int = 60
    links: float = 6.0
    cross_links: float = 1.0
    cells: int = 80
    dimensions: int = 64
    noise: float = 1.0
    linked: bool = True
    seed: int = 0

    def check(self) -> None:
        """Refuse designs that can't be made.

        Raises
        ------
        InputError
            With all problems.
        """
        problems = []
        if self.modules < 2 or self.genes < 5 * self.modules:
            problems.append(
                f"simulate: {self.genes} genes in {self.modules} modules, expected two modules or "
                "more of five genes or more."
            )
        if not 8 <= self.perturbed <= self.genes:
            problems.append(
                f"simulate: {self.perturbed} perturbed genes, expected 8 to {self.genes}."
            )
        if min(self.links, self.cross_links, self.noise) < 0 or self.links < 1:
            problems.append(
                "simulate: links within modules are 1 or more, links across and noise 0 or more."
            )
        if min(self.cells, self.dimensions) < 2:
            problems.append("simulate: there are at least 2 cells and 2 dimensions.")
        if problems:
            raise InputError(join_problems(problems))


class RegulationTruth(NamedTuple):
    """What was planted.

    Attributes
    ----------
    genes : DataFrame
        gene, module, perturbed.
    edges : (m, 2) int64
        Links, by the genes' positions.
    expression : (genes, cells) float64
        Logarithmic, 0 or more.
    signatures : (genes, dimensions) float64
        Perturbation embeddings of all genes as they would be measured; NaN where not perturbed.
    """

    genes: pd.DataFrame
    edges: np.ndarray
    expression: np.ndarray
    signatures: np.ndarray


def draw_regulation(design: RegulationDesign) -> RegulationTruth:
    """Draw the network, expression and perturbation embeddings of a design.

    Raises
    ------
    InputError
        If the design can't be made.
    """
    design.check()
    streams = np.random.SeedSequence(design.seed).spawn(4)
    placing, linking, expressing, seeing = map(np.random.default_rng, streams)
    module = placing.permutation(np.arange(design.genes) % design.modules)
    perturbed = np.zeros(design.genes, dtype=bool)
    for turn in range(design.perturbed):
        free = np.nonzero((module == turn % design.modules) & ~perturbed)[0]
        # A module that is used up lets the next gene come from anywhere.
        free = free if free.size else np.nonzero(~perturbed)[0]
        perturbed[placing.choice(free)] = True
    edges = draw_links(design, module, linking)
    activity = expressing.standard_normal((design.modules, design.cells))
    expression = draw_expression(activity[module], expressing)
    effect = seeing.standard_normal((design.modules, design.dimensions))
    effect /= np.linalg.norm(effect, axis=1, keepdims=True)
    particular = seeing.standard_normal((design.genes, design.dimensions))
    signatures = effect[module] + design.noise / np.sqrt(design.dimensions) * particular
    signatures[~perturbed] = np.nan
    if not design.linked:
        places = np.nonzero(perturbed)[0]
        signatures[places] = signatures[seeing.permutation(places)]
    names = [f"GENE{number:04d}" for number in range(1, design.genes + 1)]
    genes = pd.DataFrame({"gene": names, "module": module, "perturbed": perturbed})
    return RegulationTruth(genes, edges, expression, signatures)


def draw_expression(activity: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw logarithmic expression that goes with the activity of genes' modules.

    Parameters
    ----------
    activity
        Shape (genes, cells): of each gene's module; 0 for genes of none.
    random
        Of the genes' levels and of what is particular to a gene in a cell.

    Returns
    -------
    ndarray of float64, shape (genes, cells)
        0 or more.
    """
    level = random.gamma(4.0, 0.6, (len(activity), 1))
    noise = 0.7 * random.standard_normal(activity.shape)
    return np.maximum(level + 0.5 * activity + noise, 0)


def draw_links(
    design: RegulationDesign, module: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Draw links; a gene that got none is linked to one of its module.

    Parameters
    ----------
    design
        How many links there are.
    module
        Shape (genes,): the module of each.
    random
        Of the links.

    Returns
    -------
    ndarray of int64, shape (links, 2)
        Positions of genes, each pair once, the smaller first.
    """
    first, second = np.triu_indices(design.genes, 1)
    same = module[first] == module[second]
    size = design.genes / design.modules
    chance = np.where(
        same, design.links / max(size - 1, 1), design.cross_links / max(design.genes - size, 1)
    )
    kept = random.random(len(first)) < chance
    edges = np.stack([first[kept], second[kept]], axis=1)
    lonely = np.setdiff1d(np.arange(design.genes), edges)
    partners = [
        random.choice(np.nonzero((module == module[gene]) & (np.arange(len(module)) != gene))[0])
        for gene in lonely
    ]
    added = np.sort(np.stack([lonely, np.array(partners, dtype=np.int64)], axis=1), axis=1)
    return np.unique(np.concatenate([edges, added]), axis=0).astype(np.int64)


def write_regulation(url: str, design: RegulationDesign) -> pd.DataFrame:
    """Write the regulation side of a simulated screen.

    Parameters
    ----------
    url
        An empty or new folder: gets ``network.graphml``, ``interactome.tsv`` (protein1, protein2,
        cost), ``expression.csv`` (gene, then cells), ``signatures.csv`` (gene, then a perturbation
        embedding), ``modules.gmt``, ``truth/modules.csv`` and ``pipeline.yaml``.
    design
        What to simulate.

    Returns
    -------
    DataFrame
        The truth: gene, module, perturbed.

    Raises
    ------
    InputError
        If the design can't be made, or the folder is not empty.
    """
    import networkx as nx

    url = files.normalise_url(url)
    found = files.list_folder(url)
    if found:
        raise InputError(
            f"{url}: not empty (found {', '.join(sorted(found)[:3])}). Name a new folder."
        )
    truth = draw_regulation(design)
    names = truth.genes["gene"].tolist()
    random = np.random.default_rng([design.seed, 9])
    costs = np.round(random.uniform(*_COST_RANGE, len(truth.edges)), 6)
    graph = nx.Graph()
    for name, is_perturbed in zip(names, truth.genes["perturbed"], strict=True):
        graph.add_node(name, prize=float(is_perturbed), terminal=bool(is_perturbed))
    for (a, b), cost in zip(truth.edges, costs, strict=True):
        graph.add_edge(names[a], names[b], cost=float(cost))
    write_network(files.join_url(url, "network.graphml"), graph)
    links = pd.DataFrame(
        {
            "protein1": [names[a] for a in truth.edges[:, 0]],
            "protein2": [names[b] for b in truth.edges[:, 1]],
            "cost": costs,
        }
    )
    _write_text(url, "interactome.tsv", links.to_csv(sep="\t", index=False))
    _write_vectors(url, "expression.csv", names, truth.expression, "cell")
    seen = truth.genes["perturbed"].to_numpy()
    perturbed = [name for name, kept in zip(names, seen, strict=True) if kept]
    _write_vectors(url, "signatures.csv", perturbed, truth.signatures[seen], "d")
    _write_text(url, "modules.gmt", describe_modules(truth.genes))
    _write_text(url, "truth/modules.csv", truth.genes.to_csv(index=False))
    # JSON is YAML.
    _write_text(url, "pipeline.yaml", json.dumps(describe_regulation_pipeline(), indent=1))
    return truth.genes


def describe_modules(genes: pd.DataFrame) -> str:
    """Give the modules of genes (gene, module; -1 for none) as the text of a GMT file."""
    inside = genes[genes["module"] >= 0]
    lines = [
        "\t".join([f"MODULE {number}", "planted", *rows])
        for number, rows in inside.groupby("module")["gene"]
    ]
    return "\n".join(lines) + "\n"


def describe_regulation_pipeline() -> dict[str, Any]:
    """Give the pipeline that suits a simulated regulation side, paths relative to its folder."""
    return {
        "seed": 0,
        "description": "simulated regulation side",
        "stages": [
            {
                "stage": "genes",
                "network": "network.graphml",
                "features": "expression.csv",
                "gene_sets": ["modules.gmt"],
            },
            {"stage": "map", "signatures": "signatures.csv"},
            {"stage": "predict", "queries": "signatures.csv"},
            {"stage": "report"},
        ],
    }


def _write_vectors(url: str, name: str, genes: list[str], rows: np.ndarray, column: str) -> None:
    table = pd.DataFrame(np.round(rows, 5), columns=[f"{column}{i}" for i in range(rows.shape[1])])
    table.insert(0, "gene", genes)
    _write_text(url, name, table.to_csv(index=False))


def _write_text(url: str, name: str, text: str) -> None:
    files.write_bytes(files.join_url(url, *name.split("/")), text.encode())
