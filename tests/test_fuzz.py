"""Readers of user files, and YAML loaders, against broken files: no error but a clear one.

Valid files are cut, doubled, spliced and overwritten. ``I2R_FUZZ`` says how many inputs there are in
all: 600 by default, 10,000 in the project's CI (marker slow), and by hand as many as you like::

    I2R_FUZZ=100000 python -m pytest -m slow tests/test_fuzz.py
"""

import io
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from i2r.analysis.regulation.query_wells import read_queries
from i2r.cluster import load_cluster
from i2r.errors import I2RError
from i2r.formats.cells import read_counts
from i2r.formats.gctx import read_signatures
from i2r.formats.gene_tables import read_gene_sets, read_labels, read_vectors
from i2r.formats.interactions import read_interactions
from i2r.formats.panels import read_panel
from i2r.pipeline.spec import load_pipeline
from i2r.readers import htd, illumination, images, labels, sheets, yokogawa
from i2r.readers.flatfield import name_profile
from i2r.readers.loaddata import scan as scan_load_data
from i2r.readers.omezarr import scan as scan_ome_zarr
from i2r.readers.phenix import scan as scan_phenix
from i2r.readers.samplesheet import scan as scan_samplesheet
from i2r.readers.sources import ReaderOptions
from i2r.stages.embed import load_encoder
from i2r.store.experiment import open_experiment
from i2r.store.frames import read_frame
from i2r.store.layout import read_layout
from i2r.store.ledger import Ledger
from i2r.store.networks import read_network
from i2r.store.tables import encode_table

ALL = int(os.environ.get("I2R_FUZZ", "10000"))

PIPELINE = b"""seed: 1
stages:
  - {stage: convert, source: images, layout: layout.csv, pixel_size_um: 1.3, channels: {"1": DNA}}
  - {stage: segment, channel: DNA, method: threshold}
  - stage: crop
    size_px: 64
  - stage: screen
    channels: [DNA]
"""
CLUSTER = b"""type: slurm
cpu: {jobs: 2, cores: 8, processes: 4, memory: 32GiB, walltime: "1-08:00:00", queue: cpu}
gpu: {jobs: 1, job_extra_directives: ["--gres=gpu:1"]}
security: {tls_ca_file: ca.pem}
"""
LAYOUT = b"plate,well,perturbation,role,gene,dose\nP1,A01,x,treated,TP53,1.5\nP1,B02,c,negative_control,,\n"
LOAD_DATA = (
    b"Metadata_Plate,Metadata_Well,Metadata_Site,FileName_OrigDNA,PathName_OrigDNA\n"
    b"P1,A01,1,a.tif,/images\nP1,A02,2,b.tif,/images\n"
)
SHEET = b"plate,well,field,channel,path\nP1,A01,1,DNA,a.tif\nP1,A02,1,DNA,b.tif\n"
PHENIX = b"""<?xml version="1.0"?><EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5">
<Plates><Plate><PlateID>P1</PlateID></Plate></Plates><Images><Image Version="1"><id>0101K1F1P1R1</id>
<URL>a.tiff</URL><Row>1</Row><Col>1</Col><FieldID>1</FieldID><PlaneID>1</PlaneID><ChannelID>1</ChannelID>
<ChannelName>DNA</ChannelName><ImageResolutionX Unit="m">1.9E-07</ImageResolutionX></Image></Images>
</EvaluationInputData>"""
CELLVOYAGER = (
    b'<a><MeasurementRecord Type="IMG" Row="1" Column="2" FieldIndex="1" Ch="1">a.tif</MeasurementRecord>'
    b'<MeasurementRecord Type="ERR" Row="1" Column="3" FieldIndex="1">AF</MeasurementRecord></a>'
)
PROFILE = (
    b'<a><Entry ChannelID="1"><FlatfieldProfile>{Foreground: {Character: NonFlat, Profile: {Coefficients: '
    b"[[1.0], [0.1, 0.2]], Dims: [9, 8], Origin: [4, 3.5], Scale: [0.1, 0.1]}}}</FlatfieldProfile></Entry></a>"
)
GRAPHML = b"""<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="c" for="edge" attr.name="cost" attr.type="double"/><graph edgedefault="undirected">
<node id="A"/><node id="B"/><edge source="A" target="B"><data key="c">0.5</data></edge></graph></graphml>"""
LEDGER = b'{"stage":"crop","key":"P1/A01","event":"done","fingerprint":"0","attempt":1}\n' * 3
MARKER = b'{"format": "i2r", "version": 1}'
HTD = (
    b'"HTSInfoFile", Version 1.0\n"XWells", 2\n"YWells", 1\n"WellsSelection1", TRUE, FALSE\n"Sites", TRUE\n'
    b'"XSites", 1\n"YSites", 1\n"SiteSelection1", TRUE\n"NWavelengths", 1\n"WaveName1", "DAPI"\n"EndFile"\n'
)
ZARR = (
    b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "plate": {"columns": '
    b'[{"name": "1"}], "rows": [{"name": "A"}], "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}]}}}}'
)
MTX = b"%%MatrixMarket matrix coordinate integer general\n%\n2 2 2\n1 1 5\n2 2 7\n"


def make_tiff(folder: Path) -> bytes:
    path = folder / f"{uuid.uuid4().hex}.tif"
    tifffile.imwrite(path, np.arange(48 * 40, dtype=np.uint16).reshape(48, 40), compression="lzw")
    return path.read_bytes()


def make_npy(folder: Path) -> bytes:
    path = folder / f"{uuid.uuid4().hex}.npy"
    np.save(path, np.ones((8, 9), dtype=np.float32))
    return path.read_bytes()


def make_mat(folder: Path) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"Image": np.ones((8, 9))}, do_compression=True)
    return buffer.getvalue()


def make_gctx(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["0/DATA/0/matrix"] = np.ones((2, 3), np.float32)
        file["0/META/ROW/id"] = np.array([b"1", b"2", b"3"])
        file["0/META/COL/pert_iname"] = np.array([b"TP53", b"MYC"])
    return buffer.getvalue()


def make_anndata(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["X"] = np.ones((2, 3), np.float32)
        file["var/_index"] = np.array([b"TP53", b"MYC", b"EGFR"])
        file["var"].attrs["_index"] = "_index"
    return buffer.getvalue()


def make_sparse_anndata(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["X/data"], file["X/indices"] = np.ones(4, np.float32), np.array([0, 2, 1, 2])
        file["X/indptr"] = np.array([0, 2, 4])
        file["X"].attrs.update({"encoding-type": "csr_matrix", "shape": np.array([2, 3])})
        file["var/_index"] = np.array([b"TP53", b"MYC", b"EGFR"])
        file["var"].attrs["_index"] = "_index"
    return buffer.getvalue()


def make_parquet(folder: Path) -> bytes:
    return encode_table(pd.DataFrame({"gene": ["TP53", "MYC"], "e0": [0.5, 1.0]}))


def make_encoder(folder: Path) -> bytes:
    import torch

    from i2r.models.encoder import EncoderSettings, build_encoder
    from i2r.models.weights import encode_encoder

    torch.manual_seed(0)
    return encode_encoder(build_encoder(EncoderSettings(widths=(2, 2), embedding_dim=2)))


def read_10x(path: str) -> object:
    Path(path).with_name("features.tsv").write_bytes(b"g1\tTP53\ng2\tMYC\n")
    return read_counts(path)


def scan_zarr(path: str) -> object:
    return scan_ome_zarr(str(Path(path).parent), OPTIONS)


def read_ledger(path: str) -> object:
    folder = Path(path).parent / f"{Path(path).name}-ledger"
    folder.mkdir(exist_ok=True)
    (folder / "000001.jsonl").write_bytes(Path(path).read_bytes())
    return Ledger(str(folder))


def read_marker(path: str) -> object:
    folder = Path(path).parent / f"{Path(path).name}-experiment"
    folder.mkdir(exist_ok=True)
    (folder / "experiment.json").write_bytes(Path(path).read_bytes())
    return open_experiment(str(folder))


class Target(NamedTuple):
    """A reader, what its files are called, and a valid one."""

    read: Callable[[str], object]
    name: str
    valid: bytes | Callable[[Path], bytes]


OPTIONS = ReaderOptions()
TARGETS = {
    "pipeline": Target(load_pipeline, "p.yaml", PIPELINE),
    "cluster": Target(load_cluster, "c.yaml", CLUSTER),
    "layout": Target(read_layout, "layout.csv", LAYOUT),
    "sheet": Target(sheets.read_sheet, "s.csv", SHEET),
    "samplesheet": Target(lambda p: scan_samplesheet(p, OPTIONS), "s.csv", SHEET),
    "load_data": Target(lambda p: scan_load_data(p, OPTIONS), "load_data.csv", LOAD_DATA),
    "phenix": Target(lambda p: scan_phenix(p, OPTIONS), "Index.xml", PHENIX),
    "cellvoyager": Target(lambda p: yokogawa.scan(p, OPTIONS), "MeasurementData.mlf", CELLVOYAGER),
    "flat field": Target(
        lambda p: illumination.read_function(name_profile(p, "1"), shape=(8, 9)), "p.xml", PROFILE
    ),
    "network": Target(read_network, "n.graphml", GRAPHML),
    "image": Target(images.read_plane, "i.tif", make_tiff),
    "header": Target(images.read_shape, "i.tif", make_tiff),
    "mask": Target(lambda p: labels.read_mask(p, shape=(48, 40)), "m.tif", make_tiff),
    "illumination": Target(
        lambda p: illumination.read_function(p, shape=(8, 9)), "f.npy", make_npy
    ),
    "vectors": Target(read_vectors, "v.csv", b"gene,e0,e1\nTP53,0.1,2\nMYC,3,4\n"),
    "labels": Target(read_labels, "l.csv", b"gene,label\nTP53,a\nMYC,b\n"),
    "gene sets": Target(read_gene_sets, "s.gmt", b"SET\tdescription\tTP53\tMYC\nOTHER\t\tEGFR\n"),
    "ledger": Target(read_ledger, "l.jsonl", LEDGER),
    "experiment": Target(read_marker, "experiment.json", MARKER),
    "htd": Target(htd.read_settings, "p.HTD", HTD),
    "ome-zarr": Target(scan_zarr, "zarr.json", ZARR),
    "matlab": Target(lambda p: illumination.read_function(p, shape=(8, 9)), "f.mat", make_mat),
    "matrix": Target(read_10x, "matrix.mtx", MTX),
    "interactions": Target(read_interactions, "i.csv", b"protein1,protein2,cost\nA,B,0.5\nB,C,1\n"),
    "panel": Target(read_panel, "p.csv", b"line,TP53 (7157),MYC (4609)\nU2OS,1.5,2\nHELA,3,4\n"),
    "queries": Target(read_queries, "q.csv", b"query,gene,e0,e1\nq1,TP53,0.1,2\nq2,,3,4\n"),
    "parquet": Target(read_frame, "t.parquet", make_parquet),
    "weights": Target(
        lambda p: load_encoder(p, channels=("DNA",), device="cpu"), "w.pt", make_encoder
    ),
}

# HDF5's library loops for ever on some files with damaged heaps, and no Python code can stop it: these
# files are cut, but not overwritten.
HDF5 = {
    "anndata": Target(read_counts, "c.h5ad", make_anndata),
    "sparse anndata": Target(read_counts, "c.h5ad", make_sparse_anndata),
    "signatures": Target(read_signatures, "s.gctx", make_gctx),
}

# Pieces that parsers trip over: entities, references, huge numbers, other encodings.
NASTY = st.sampled_from(
    [
        b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"&a", b"*a", b"!!python/object/apply:os.system ['x']",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"9" * 400, b"-1", b"1e999", b"nan", b"null",
        b"[" * 50, b"{" * 50, b"../../x", b'"', b"'", b",", b"\n", b"\r", b"\t", b": ", b"- ", b"true",
        b"2020-01-01", b"0x10", b"1:30", b"<a>", b"</", b"/>", b"\xf0\x9f\x92\xa9",
    ]
)  # fmt: skip
PIECES = st.one_of(st.binary(max_size=8), NASTY)
EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "overwrite", "cut", "double"]), st.floats(0, 1), st.floats(0, 0.3), PIECES),
    min_size=1, max_size=4,
)  # fmt: skip


def damage(data: bytes, edits: list[tuple[str, float, float, bytes]]) -> bytes:
    """Apply edits at places given as fractions of the length."""
    for kind, place, extent, piece in edits:
        at = int(place * len(data))
        to = min(len(data), at + int(extent * len(data)))
        if kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "overwrite":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "cut":
            data = data[:at] + data[to:]
        else:
            data = data[:to] + data[at:to] + data[to:]
    return data


def count_lines(target: Target, path: str) -> int:
    """Read a file; give the length of the error, 0 where there is none."""
    try:
        target.read(path)
    except I2RError as error:
        return len(str(error).splitlines())
    return 0


def fuzz(name: str, folder: Path, number: int) -> None:
    target = TARGETS[name]
    valid = target.valid if isinstance(target.valid, bytes) else target.valid(folder)
    path = folder / target.name

    @settings(
        max_examples=number, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(edits=EDITS)
    def run(edits: list[tuple[str, float, float, bytes]]) -> None:
        path.write_bytes(damage(valid, edits))
        # One line for each of at most five problems, and how many more there are.
        assert count_lines(target, str(path)) <= 6

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_broken_files_give_clear_errors(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 35)


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("name", TARGETS)
def test_many_broken_files_give_clear_errors(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, -(-ALL // len(TARGETS)))


@pytest.mark.parametrize("name", HDF5)
def test_cut_hdf5_files_give_clear_errors(name: str, tmp_path: Path) -> None:
    target = HDF5[name]
    assert callable(target.valid)
    valid, path = target.valid(tmp_path), tmp_path / target.name
    for share in np.linspace(0, 0.99, 50):
        path.write_bytes(valid[: int(share * len(valid))])
        assert count_lines(target, str(path)) == 1


@pytest.mark.parametrize("name", [*TARGETS, *HDF5])
def test_the_file_that_is_broken_was_valid(name: str, tmp_path: Path) -> None:
    target = (TARGETS | HDF5)[name]
    path = tmp_path / target.name
    path.write_bytes(target.valid if isinstance(target.valid, bytes) else target.valid(tmp_path))
    target.read(str(path))
