"""Networks survive writing and reading; files that could do harm are refused in one line."""

import math
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import InputError
from i2r.store.networks import read_network, write_network

BOMB = """<?xml version="1.0"?>
<!DOCTYPE graphml [<!ENTITY a "aaaaaaaaaa">{more}]>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">
<node id="&z;"/></graph></graphml>"""


def make_network() -> nx.Graph:
    graph = nx.Graph()
    graph.add_node("TP53", prize=8.6489, terminal=True, cluster=np.int64(3))
    graph.add_node("A&B<", prize=np.float32(0.5), terminal=np.bool_(False), cluster=1)
    graph.add_node("MDM2", prize=0.0, terminal=False, cluster=1)
    graph.add_edge("TP53", "MDM2", cost=0.1 + 0.2, in_tree=True)
    graph.add_edge("MDM2", "A&B<", cost=0.594442, in_tree=False)
    return graph


@given(st.lists(st.floats(0, 1e9), min_size=3, max_size=3))
def test_what_is_written_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    graph = make_network()
    for name, value in zip(graph, values, strict=True):
        graph.nodes[name]["prize"] = value
    url = str(tmp_path_factory.mktemp("network") / "n.graphml")
    write_network(url, graph)
    back = read_network(url)
    assert set(back) == set(graph)
    assert {n: d["prize"] for n, d in back.nodes(data=True)} == {
        n: float(d["prize"]) for n, d in graph.nodes(data=True)
    }
    assert [back.nodes[n]["terminal"] for n in ("TP53", "A&B<", "MDM2")] == [True, False, False]
    assert all(
        type(d["terminal"]) is bool and type(d["prize"]) is float for _, d in back.nodes(data=True)
    )
    assert back.edges["MDM2", "TP53"]["cost"] == 0.1 + 0.2
    assert back.edges["MDM2", "TP53"]["in_tree"] is True
    assert back.nodes["TP53"]["cluster"] == 3


def test_equal_networks_make_equal_files_in_any_order(tmp_path: Path) -> None:
    graph = make_network()
    other = nx.Graph()
    other.add_nodes_from(reversed(list(graph.nodes(data=True))))
    other.add_edges_from([(v, u, d) for u, v, d in reversed(list(graph.edges(data=True)))])
    write_network(str(tmp_path / "a"), graph)
    write_network(str(tmp_path / "b"), other)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_foreign_files_get_defaults_names_and_single_edges(tmp_path: Path) -> None:
    foreign = nx.MultiDiGraph()
    foreign.add_node("62", name="EGFR")
    foreign.add_node("63", name="GRB2")
    foreign.add_edge("62", "63", cost=0.7)
    foreign.add_edge("63", "62", cost=0.2)
    foreign.add_edge("63", "63", cost=0.1)
    nx.write_graphml_xml(foreign, str(tmp_path / "f.graphml"))
    graph = read_network(str(tmp_path / "f.graphml"))
    assert sorted(graph) == ["EGFR", "GRB2"]
    assert graph.nodes["EGFR"]["prize"] == 0.0
    assert graph.nodes["EGFR"]["terminal"] is False
    assert [(*sorted((u, v)), d["cost"]) for u, v, d in graph.edges(data=True)] == [
        ("EGFR", "GRB2", 0.2)
    ]


def test_names_that_identify_nothing_are_not_used(tmp_path: Path) -> None:
    foreign = nx.Graph()
    foreign.add_node("ENSP1", name="X")
    foreign.add_node("ENSP2", name="X")
    foreign.add_edge("ENSP1", "ENSP2")
    nx.write_graphml_xml(foreign, str(tmp_path / "f.graphml"))
    graph = read_network(str(tmp_path / "f.graphml"))
    assert sorted(graph) == ["ENSP1", "ENSP2"]
    assert graph.edges["ENSP1", "ENSP2"]["cost"] == 1.0


def test_entities_are_refused_before_they_unfold(tmp_path: Path) -> None:
    levels = "".join(
        f'<!ENTITY {b} "{f"&{a};" * 40}">' for a, b in zip("abcdefg", "bcdefgz", strict=True)
    )
    (tmp_path / "bomb.graphml").write_text(BOMB.format(more=levels))
    started = time.perf_counter()
    with pytest.raises(InputError, match="document type declaration"):
        read_network(str(tmp_path / "bomb.graphml"))
    assert time.perf_counter() - started < 10
    secret = f'<!ENTITY z SYSTEM "file://{tmp_path}/secret">'
    (tmp_path / "secret").write_text("key")
    (tmp_path / "xxe.graphml").write_text(BOMB.format(more=secret))
    with pytest.raises(InputError, match="document type declaration"):
        read_network(str(tmp_path / "xxe.graphml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\t0.5\n", "no XML"),
        ("<html/>", "no GraphML"),
        (
            '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected"/></graphml>',
            "no node in it",
        ),
    ],
)
def test_what_is_no_network_is_said_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.graphml").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_network(str(tmp_path / "x.graphml"))
    assert "\n" not in str(caught.value)


def test_missing_files_negative_costs_and_nan_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_network(str(tmp_path / "absent.graphml"))
    for cost in (-0.5, math.nan):
        graph = nx.Graph()
        graph.add_edge("A", "B", cost=cost)
        nx.write_graphml_xml(graph, str(tmp_path / "n.graphml"))
        with pytest.raises(InputError, match=r"edge A - B: .*expected a number of 0 or more"):
            read_network(str(tmp_path / "n.graphml"))


def test_only_finite_and_complete_networks_are_written(tmp_path: Path) -> None:
    graph = make_network()
    graph.nodes["TP53"]["prize"] = math.nan
    with pytest.raises(ValueError, match="TP53"):
        write_network(str(tmp_path / "n"), graph)
    del graph.nodes["TP53"]["prize"]
    with pytest.raises(KeyError):
        write_network(str(tmp_path / "n"), graph)
    assert not (tmp_path / "n").exists()
