"""Networks of genes as GraphML files, which Cytoscape, Gephi, igraph and networkx open."""

import io
import math
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from i2r.errors import InputError
from i2r.store import files

if TYPE_CHECKING:
    import networkx as nx

# An interactome of all human genes takes 40 MB; a larger file is probably something else.
MAX_BYTES = 2**29


def write_network(url: str, graph: "nx.Graph") -> int:
    """Write a network as one GraphML file, replacing it in one step.

    Parameters
    ----------
    url
        Where to write.
    graph
        Undirected, nodes named by gene symbols. Every node needs the attributes ``prize`` (a
        finite number) and ``terminal`` (truth value), every edge ``cost`` (a finite number);
        further attributes of nodes and edges (text, numbers, truth values) are kept. Nodes and
        edges are written sorted by name: equal networks make equal files.

    Returns
    -------
    int
        The number of bytes written.

    Raises
    ------
    KeyError
        If a required attribute is missing.
    ValueError
        If a prize or cost is not finite.
    """
    import networkx as nx

    ordered = nx.Graph()
    for name in sorted(graph.nodes):
        node = graph.nodes[name]
        fixed = {"prize": _finite(node["prize"], name), "terminal": bool(node["terminal"])}
        ordered.add_node(str(name), **{**_plain(node), **fixed})
    for first, second in sorted(tuple(sorted(edge)) for edge in graph.edges):
        edge = graph.edges[first, second]
        cost = _finite(edge["cost"], f"{first} - {second}")
        ordered.add_edge(str(first), str(second), **{**_plain(edge), "cost": cost})
    buffer = io.BytesIO()
    # With lxml installed, write_graphml would write other bytes.
    nx.write_graphml_xml(ordered, buffer)
    return files.write_bytes(url, buffer.getvalue())


def count_nodes(url: str) -> int:
    """Count the nodes of a GraphML file without making a network of it; 0 where there is none."""
    try:
        found = files.stat(url)
    except OSError:
        return 0
    return _count_nodes(url, found) if found.size_bytes <= MAX_BYTES else 0


@lru_cache(maxsize=16)
def _count_nodes(url: str, found: files.Stat) -> int:
    """Count the nodes of a file as it is found: every unit of a stage asks."""
    return files.read_bytes(url).count(b"<node ")


def read_network(url: str) -> "nx.Graph":
    """Read a network from a GraphML file, of ours or of another program's.

    Parameters
    ----------
    url
        The file. Document type declarations, and with them entities, are refused: they could
        make a small file unfold into gigabytes or read other files.

    Returns
    -------
    networkx.Graph
        Undirected. Nodes are named by their ``name`` where all have one and no two share it (as
        in files from Cytoscape, whose identifiers are numbers), otherwise by their identifier.
        ``prize`` (default 0.0), ``terminal`` (default False) and ``cost`` (default 1.0) are always
        there. Self-loops are dropped; of parallel edges the cheapest stays.

    Raises
    ------
    InputError
        If there is no such file, it is not GraphML, holds no node, or a prize or cost in it is
        negative or no number.
    """
    import networkx as nx

    data = _read_checked(url)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a key without a type is a string
            found = nx.read_graphml(io.BytesIO(data))
    except (nx.NetworkXError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"network {url}: no GraphML ({type(error).__name__}: {error}). Export it as GraphML."
        ) from error
    if not len(found):
        raise InputError(f"network {url}: no node in it. Export a network that has genes.")
    names = _choose_names(found)
    graph = nx.Graph()
    for node, attributes in found.nodes(data=True):
        values = dict(attributes)
        values["prize"] = _number(values.get("prize", 0.0), f"network {url} node {names[node]!r}")
        values["terminal"] = str(values.get("terminal", False)).lower() in ("true", "1")
        graph.add_node(names[node], **values)
    for first, second, attributes in found.edges(data=True):
        ends = names[first], names[second]
        where = f"network {url} edge {ends[0]} - {ends[1]}"
        values = {**attributes, "cost": _number(attributes.get("cost", 1.0), where)}
        known = graph.edges[ends]["cost"] if graph.has_edge(*ends) else math.inf
        if ends[0] != ends[1] and values["cost"] < known:
            graph.add_edge(*ends, **values)
    return graph


def _read_checked(url: str) -> bytes:
    """Read a file that is not too large and declares no document type."""
    try:
        size = files.stat(url).size_bytes
        if size > MAX_BYTES:
            raise InputError(
                f"network {url}: {size / 2**20:.0f} MiB, expected at most "
                f"{MAX_BYTES / 2**20:.0f} MiB. Leave out what is not part of the network."
            )
        data = files.read_bytes(url)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"network {url}: no such file. Give the path of a GraphML file."
        ) from error
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise InputError(
            f"network {url}: has a document type declaration (<!DOCTYPE ...>), which can hide "
            "other files in it, expected plain GraphML. Delete that declaration."
        )

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"network {url}: no XML ({error}). Export it as GraphML.") from error
    return data


def _choose_names(graph: "nx.Graph") -> dict[Any, str]:
    """Name nodes by their attribute ``name`` where it identifies them, else by identifier."""
    names = {node: str(attributes.get("name", "")) for node, attributes in graph.nodes(data=True)}
    if all(names.values()) and len(set(names.values())) == len(names):
        return names
    return {node: str(node) for node in graph}


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """Turn numpy's scalars into Python's, which GraphML has types for."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in attributes.items()}


def _finite(value: Any, name: object) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: {number} is not finite")
    return number


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise InputError(f"{where}: {value!r}, expected a number of 0 or more. Correct it.")
    return number
