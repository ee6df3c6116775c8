"""Interactions, expression and counts as the programs and sites that people take them from do."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import coo_matrix, csc_array, csc_matrix, csr_matrix

from i2r.errors import InputError
from i2r.formats.cells import read_counts
from i2r.formats.interactions import Interactions, read_interactions
from i2r.formats.panels import choose_line, read_line_names, read_panel
from i2r.formats.scales import check_counts, check_logarithms, check_signatures, find_counters


def interactions(folder: Path, text: str, name: str = "i.tsv", **options: object) -> Interactions:
    (folder / name).write_text(text)
    return read_interactions(str(folder / name), **options)  # type: ignore[arg-type]


BIOGRID = (
    "#BioGRID Interaction ID\tOfficial Symbol Interactor A\tOfficial Symbol Interactor B\tScore\t"
    "Organism ID Interactor A\tOrganism ID Interactor B\n"
    "1\tTP53\tMDM2\t-\t9606\t9606\n2\tTP53\tMdm2\t-\t9606\t10090\n3\tMYC\tMAX\t-\t9606\t9606\n"
)


@pytest.mark.parametrize(
    ("text", "name", "options", "costs"),
    [
        (BIOGRID, "b.tab3.txt", {"unscored_cost": 0.5}, [0.5, 0.5]),
        ("source\ttarget\tsource_genesymbol\ttarget_genesymbol\tn_references\nP04637\tQ00987\tTP53\tMDM2\t3\nP01106\tP61244\tMYC\tMAX\t1\n",
         "o.tsv", {"unscored_cost": 0.4}, [0.4, 0.4]),
        ("Gene1\tGene2\tAnnotation\tDirection\tScore\nMAX\tMYC\tx\t->\t0.75\nMDM2\tTP53\tx\t-\t1.00\n",
         "r.txt", {}, [0.25, 0.0]),
        ("TP53 pp MDM2\nMYC\tpp\tMAX\n", "n.sif", {"unscored_cost": 0.5}, [0.5, 0.5]),
        ("protein1\tprotein2\tweight\nMAX\tMYC\t0.75\nMDM2\tTP53\t1\n", "w.tsv",
         {"score_column": "weight"}, [0.25, 0.0]),
        ("gene1;gene2;cost\nMAX;MYC;0,25\nMDM2;TP53;0,5\n", "s.csv", {}, [0.25, 0.5]),
        ("ID Interactor A\tConfidence Value\tGene Name Interactor A\tGene Name Interactor B\n"
         "x\t0.75\tMAX\tMYC\nx\t1\tMDM2\tTP53\n", "hippie.mitab", {}, [0.25, 0.0]),
        ("MAX_HUMAN\t4149\tMYC_HUMAN\t4609\t0.75\tx\nMDM2_HUMAN\t4193\tP53_HUMAN\t7157\t1\tx\n",
         "hippie.txt", {"symbols": {"4149": "MAX", "4609": "MYC", "4193": "MDM2", "7157": "TP53"}}, [0.25, 0.0]),
        ("gene1,gene2,confidence\nMAX,MYC,750\nMDM2,TP53,1000\n", "c.csv", {}, [0.25, 0.0]),
    ],
    ids=["BioGRID", "OmniPath", "Reactome FI", "SIF", "weight", "semicolons", "MITAB", "HIPPIE by numbers", "confidence"],
)  # fmt: skip
def test_interactions_of_many_sites(
    tmp_path: Path, text: str, name: str, options: dict[str, object], costs: list[float]
) -> None:
    found = interactions(tmp_path, text, name, **options)
    assert found.genes == ["MAX", "MDM2", "MYC", "TP53"]
    assert found.edges.tolist() == [[0, 2], [1, 3]]
    assert found.costs.tolist() == costs


def test_interactions_of_the_organism_that_most_are_of(tmp_path: Path) -> None:
    found = interactions(tmp_path, BIOGRID + "4\tA\tB\t-\t10090\t10090\n", unscored_cost=0.5)
    assert found.genes == ["MAX", "MDM2", "MYC", "TP53"]
    assert found.dropped["symbol"].tolist() == ["2 interactions"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (BIOGRID.replace("\t9606\n", "\t10090\n"), {"unscored_cost": 0.5}, "all of two organisms"),
        ("gene1,gene2,cost\nA,A,1\nB,B,1\n", {}, r"interacts with itself alone \(2 rows\)"),
        ("gene1,gene2,s\nA,B,-0.9\nA,C,0.7\n", {"score_column": "s"}, r"s is -0\.9 to 0\.7"),
        ("gene1,gene2,s\nA,B,1\nA,C,high\n", {"score_column": "s"}, "line 3: s is 'high'"),
        ("gene1,gene2,s\nA,B,1\nA,C,\n", {"score_column": "s"}, "line 3: s is empty"),
        ("gene1,gene2,cost,cost\nA,B,1,2\n", {}, "'cost' is there twice"),
    ],
)
def test_interactions_that_would_pass_silently(
    tmp_path: Path, text: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        interactions(tmp_path, text, "i.csv" if "," in text else "i.tsv", **options)


def test_a_list_of_identifiers_without_a_header_loses_no_line(tmp_path: Path) -> None:
    text = "ENSG00000141510\tENSG00000135679\nENSG00000135679\tENSG00000136997\n"
    found = interactions(tmp_path, text, "HuRI.tsv", unscored_cost=0.5)
    assert len(found.edges) == found.n_rows == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("protein1\tprotein2\nA\tB\n", "no cost and no confidence, expected one per row"),
        ("protein1\tprotein2\tweight\nA\tB\t3\n", "('weight' may be one: 'score_column')"),
        ("protein1\tprotein2\tcombined_score\nA\tB\t45\nA\tC\t94\n", "combined_score is 45 to 94"),
        ("protein1\tprotein2\tcombined_score\nA\tB\t4500\n", "combined_score is 4500 to 4500"),
        ("A\tB\t0.5\nA\tC\t0.5\n", "add a header where the first line is an interaction"),
        ("protein1\tprotein2\tcost\n7-Sep\tB\t0.1\n", "no interaction of two proteins with a symbol"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_asked(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(InputError) as error:
        interactions(tmp_path, text)
    assert found in str(error.value)


def test_dates_in_a_network_are_listed(tmp_path: Path) -> None:
    found = interactions(tmp_path, "gene1\tgene2\tcost\nA\tB\t0.1\n7-Sep\tB\t0.1\n")
    assert found.dropped["symbol"].tolist() == ["7-SEP"]
    assert "a spreadsheet has changed it" in found.dropped["reason"][0]


# ------------------------------------------------------------------------------- expression

DEPMAP = (
    ",SequencingID,ModelID,IsDefaultEntryForModel,TP53 (7157),MDM2 (4193)\n"
    "0,CDS-1,ACH-000364,No,9,9\n1,CDS-2,ACH-000364,Yes,1,2\n2,CDS-3,ACH-000001,Yes,3,4\n"
)
GCT = "#1.2\n2\t2\nName\tDescription\tU2OS\tA\nENSG1\tTP53\t1\t3\nENSG2\tMDM2\t2\t4\n"
GCT13 = "#1.3\n2\t2\t1\t1\nid\tpr_gene_symbol\tS1\tS2\ncell\tna\tU2OS\tA\n1\tTP53\t1\t3\n2\tMDM2\t2\t4\n"
HPA = (
    "Gene\tGene name\tCell line\tTPM\tpTPM\tnTPM\nENSG1\tTP53\tU2OS\t0\t0\t1\n"
    "ENSG2\tMDM2\tU2OS\t0\t0\t2\nENSG1\tTP53\tA\t0\t0\t3\nENSG2\tMDM2\tA\t0\t0\t4\n"
)


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        (DEPMAP, "d.csv", "ACH-000364"),
        (DEPMAP, "d.csv", "cds-2"),
        (GCT, "g.gct", "U2OS"),
        (GCT13, "g.gct", "U2OS"),
        (GCT13, "g.gct", "S1"),
        (HPA, "h.tsv", "U2OS"),
        (",U2OS,A\nTP53,1,3\nMDM2,2,4\n", "t.csv", "U2OS"),
        ("Symbol;U2OS;A\nTP53;1,0;3,5\nMDM2;2,0;4,0\n", "s.csv", "U2OS"),
        (",TP53,MDM2\nU2OS,1,2\nA,3,4\n", "l.csv", "U-2 OS"),
    ],
)
def test_expression_of_many_sites(tmp_path: Path, text: str, name: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    panel = read_panel(str(tmp_path / name), known={"TP53", "MDM2"})
    order = [panel.genes.index(gene) for gene in ("TP53", "MDM2")]
    assert panel.values[choose_line(panel, line, url=name)][order].tolist() == [1, 2]
    assert len(panel.lines) == 2


def test_identifiers_of_lines_are_joined_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(",TP53 (7157),MDM2 (4193)\nACH-000001,3,4\nACH-000364,1,2\n")
    (tmp_path / "n.csv").write_text(
        "DepMap_ID,cell_line_name,stripped_cell_line_name,lineage\n"
        "ACH-000001,NIH:OVCAR-3,NIHOVCAR3,ovary\nACH-000364,U-2 OS,U2OS,bone\n"
    )
    panel = read_panel(str(tmp_path / "e.csv"), known={"TP53", "MDM2"})
    with pytest.raises(InputError, match="or 'line_names' to the table that says what they are"):
        choose_line(panel, "U2OS", url="e.csv")
    names = read_line_names(str(tmp_path / "n.csv"))
    assert choose_line(panel, "u-2 os", url="e.csv", known_names=names) == 1
    with pytest.raises(InputError, match="'line_names' has no such name"):
        choose_line(panel, "HeLa", url="e.csv", known_names=names)


@pytest.mark.parametrize(
    "text", ["", "#1.2\n", "#1.2\n9\t2\nName\tDescription\tA\tB\nx\ty\t1\t2\n"]
)
def test_a_damaged_gct_is_named_as_such(tmp_path: Path, text: str) -> None:
    (tmp_path / "g.gct").write_text(text)
    with pytest.raises(InputError, match="no GCT"):
        read_panel(str(tmp_path / "g.gct"))


# ------------------------------------------------------------------------------- cells

COUNTS = np.array([[0, 3, 1], [2, 0, 8], [1, 1, 0], [4, 0, 0]])
NAMES = ["TP53", "MDM2", "MYC"]
FEATURES = "".join(f"ENSG0000000000{n}\t{name}\tGene Expression\n" for n, name in enumerate(NAMES))


def check(url: Path, **options: object) -> None:
    genes, counts, _ = read_counts(str(url), **options)  # type: ignore[arg-type]
    assert (genes, counts.toarray().tolist()) == (NAMES, COUNTS.tolist())


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    text = io.BytesIO()
    mmwrite(text, coo_matrix(matrix))
    path.write_bytes(gzip.compress(text.getvalue()))


def test_folders_of_10x_and_geo(tmp_path: Path) -> None:
    write_matrix(tmp_path / "GSM1_matrix.mtx.gz", COUNTS.T)
    (tmp_path / "GSM1_features.tsv.gz").write_bytes(gzip.compress(FEATURES.encode()))
    check(tmp_path / "GSM1_matrix.mtx.gz")
    check(tmp_path)
    write_matrix(tmp_path / "GSM1_matrix.mtx.gz", COUNTS)
    check(tmp_path)
    (tmp_path / "GSM1_features.tsv.gz").write_bytes(gzip.compress(f"id\tname\n{FEATURES}".encode()))
    check(tmp_path)
    turned = "".join(f"{n}\tENSG0000000000{i}\n" for i, n in enumerate(NAMES))
    (tmp_path / "GSM1_features.tsv.gz").write_bytes(gzip.compress(turned.encode()))
    check(tmp_path)
    write_matrix(tmp_path / "GSM2_matrix.mtx.gz", COUNTS)
    with pytest.raises(InputError, match=r"a folder with 2 files matrix\.mtx"):
        read_counts(str(tmp_path))


def test_genes_by_cells_are_turned(tmp_path: Path) -> None:
    rows = "".join(f"{n},{','.join(map(str, c))}\n" for n, c in zip(NAMES, COUNTS.T, strict=True))
    (tmp_path / "t.csv").write_text(f",c1,c2,c3,c4\n{rows}")
    check(tmp_path / "t.csv", known={"TP53", "MYC"})


@pytest.mark.parametrize("version", [2, 3])
def test_the_hdf5_file_of_10x(tmp_path: Path, version: int) -> None:
    h5py = pytest.importorskip("h5py")
    matrix = csc_matrix(COUNTS.T)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = matrix.shape
        if version == 3:
            group["features/name"], group["features/feature_type"] = NAMES, ["Gene Expression"] * 3
        else:
            group["gene_names"] = NAMES
    check(tmp_path / "f.h5")
    (tmp_path / "g.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="no readable 10x file"):
        read_counts(str(tmp_path / "g.h5"))


def write_anndata(root: object, *, x: bool = True, zarr: bool = False) -> None:
    logs = np.log1p(COUNTS / COUNTS.sum(1, keepdims=True) * 1e4)

    def put(path: str, values: object) -> None:
        if zarr:
            values = np.asarray(values)
            values = values.astype(object) if values.dtype.kind == "U" else values
            root.create_array(
                path, data=np.asarray(values, dtype="U9") if values.dtype == object else values
            )  # type: ignore[attr-defined]
        else:
            root[path] = values  # type: ignore[index]

    if x:
        put("X", logs)
    counts = csr_matrix(COUNTS)
    for name in ("data", "indices", "indptr"):
        put(f"layers/counts/{name}", getattr(counts, name))
    root["layers/counts"].attrs.update({"encoding-type": "csr_matrix", "shape": [4, 3]})  # type: ignore[index]
    put("var/ids", [f"ENSG0000000000{n}" for n in range(3)])
    put("var/feature_name", NAMES)
    root["var"].attrs["_index"] = "ids"  # type: ignore[index]


def test_layers_of_anndata(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    url = tmp_path / "x.h5ad"
    with h5py.File(url, "w") as file:
        write_anndata(file)
    check(url, layer="counts", scale="counts")
    check(url, layer="counts", names="feature_name")
    with pytest.raises(InputError, match=r"no whole numbers.*scaled to 10000 per cell.*'counts' has whole numbers: set 'cells_layer'"):  # fmt: skip
        read_counts(str(url), scale="counts")
    with pytest.raises(InputError, match="no column 'x'"):
        read_counts(str(url), names="x")
    with h5py.File(url, "w") as file:
        write_anndata(file, x=False)
    with pytest.raises(InputError, match="no X, found 'counts' layers"):
        read_counts(str(url))
    with pytest.raises(InputError, match="no nothing, found 'counts'"):
        read_counts(str(url), layer="nothing")


def test_anndata_in_zarr(tmp_path: Path) -> None:
    import zarr

    write_anndata(zarr.open_group(str(tmp_path / "x.zarr"), mode="w", zarr_format=2), zarr=True)
    check(tmp_path / "x.zarr", layer="counts", scale="counts")
    with pytest.raises(InputError, match="no such file"):
        read_counts(str(tmp_path / "nowhere.zarr"))


# ------------------------------------------------------------------------------- scales


def test_counts_are_whole_numbers() -> None:
    check_counts(csc_array(COUNTS.astype(float)), where="x")
    for values, found in (
        (COUNTS * 0.5, "probably logarithms"),
        (COUNTS * 99.5, "probably scaled"),
    ):
        with pytest.raises(InputError, match=found):
            check_counts(csc_array(values), where="x")


def test_whole_numbers_may_be_no_counts() -> None:
    counts = np.random.default_rng(0).poisson(3.0, (60, 40)).astype(float)
    check_counts(csc_array(counts), where="x")
    for values, found in (
        (np.round(counts / counts.sum(1, keepdims=True) * 1e4), "add up to about"),
        (counts * 1000, "a multiple of 1000"),
        (np.minimum(counts, 1), "is 0 or 1"),
        (counts / counts.sum(1, keepdims=True), "scaled to 1 per cell"),
    ):
        with pytest.raises(InputError, match=found):
            check_counts(csc_array(values), where="x")


def test_expression_of_other_scales_is_refused() -> None:
    logs = np.log2(1 + np.random.default_rng(0).gamma(0.5, 500.0, (30, 40)))
    for values, found in (
        ((logs.T - logs.mean(1)).T / logs.std(1)[:, None], "every line has the mean 0"),
        (logs - np.median(logs, axis=0), "every gene has the middle 0"),
        (logs.argsort(1).argsort(1) / 40, "as ranks or fractions are"),
    ):
        with pytest.raises(InputError, match=found):
            check_logarithms(values, logarithm=False, where="x")


def test_an_expression_file_of_another_name_or_cut_short(tmp_path: Path) -> None:
    text = "#1.2\n2\t2\nName\tDescription\tU2OS\tHELA\nE1\tTP53\t1\t2\nE2\tMYC\t3\t4\n"
    (tmp_path / "x.txt").write_text(text)
    assert read_panel(str(tmp_path / "x.txt")).genes == ["TP53", "MYC"]
    (tmp_path / "x.gct").write_text(text.removesuffix("\t4\n"))
    with pytest.raises(InputError, match="its row 2 has 3 cells of 4"):
        read_panel(str(tmp_path / "x.gct"))


def test_counts_that_are_not_there_say_so(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.csv").write_text("cell,A,B\n")
    for name, found in (
        ("a.loom", "a format that i2r does not read"),
        ("", "0 files matrix.mtx, expected one; found 'sub', 'x.csv'"),
        ("matrix.mtx", "no such file"),
        ("x.zarr", "an empty folder"),
        ("x.csv", "0 cells and 2 genes"),
    ):
        with pytest.raises(InputError, match=found):
            read_counts(str(tmp_path / name) if name else str(tmp_path))


def test_expression_is_what_the_option_says() -> None:
    raw = np.random.default_rng(0).gamma(0.5, 500.0, (12, 40))
    logs = np.log2(1 + raw)
    check_logarithms(logs, logarithm=False, where="x")
    check_logarithms(raw, logarithm=True, where="x")
    with pytest.raises(InputError, match="Set 'logarithm' to true"):
        check_logarithms(raw, logarithm=False, where="x")
    with pytest.raises(InputError, match="look like logarithms"):
        check_logarithms(logs, logarithm=True, where="x")
    with pytest.raises(InputError, match="the mean 0 and the deviation 1"):
        check_logarithms((logs - logs.mean(0)) / logs.std(0), logarithm=False, where="x")


def test_signatures_are_differences() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)) * 20
    check_signatures(values, where="x")
    check_signatures(np.abs(values) / 20, where="x")
    with pytest.raises(InputError, match="which are raw values"):
        check_signatures(np.abs(values) + 30, where="x")
    with pytest.raises(InputError, match="which are counts"):
        check_signatures(np.round(np.abs(values)) + 30, where="x")


def test_a_column_that_numbers_the_rows_is_found() -> None:
    values = np.column_stack([np.arange(5.0), np.random.default_rng(0).normal(size=5)])
    assert find_counters(values, ["n", "x"]) == ["n"]
    assert find_counters(values[::-1], ["n", "x"]) == []
    values = np.column_stack([np.arange(30.0, 50.0), np.random.default_rng(0).normal(size=20)])
    assert find_counters(values[::-1], ["n", "x"]) == ["n"]
