"""A password in an address is refused before anything happens, and is written down nowhere."""

import json
from pathlib import Path

import pytest

from i2r.cluster import load_cluster
from i2r.pipeline.executors import _UNTOLD
from i2r.testing import PlateFiles, describe_pipeline
from tests.conftest import Cli

SECRET = "hunter2"
URLS = (f"s3://key:{SECRET}@bucket/a", f"https://host/a?X-Amz-Signature={SECRET}")


def find_secret(folder: Path) -> list[str]:
    """List the files that hold the secret, their names included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(p) for p in files if SECRET in str(p) or SECRET.encode() in p.read_bytes()]


@pytest.fixture
def pipeline(plate: PlateFiles, tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(json.dumps(describe_pipeline(plate, screen=False)))
    return path


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_in_the_experiments_address(verb: str, url: str, cli: Cli, pipeline: Path) -> None:
    more = ["--yes", "--cluster", "none"] if verb == "run" else []
    code, said = cli(verb, pipeline, url, *more)
    assert code == 2, said
    assert "the URL holds a password, key or signature" in said
    assert SECRET not in said


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("option", ["source", "layout"])
def test_in_what_a_stage_reads(
    option: str, url: str, cli: Cli, plate: PlateFiles, tmp_path: Path
) -> None:
    content = describe_pipeline(plate, screen=False)
    content["stages"][0][option] = url
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "p.yaml").write_text(json.dumps(content))
    code, said = cli("run", tmp_path / "p.yaml", folder / "e", "--yes", "--cluster", "none")
    assert code == 2, said
    assert SECRET not in said
    assert find_secret(folder) == []


def test_in_a_list_of_image_files(cli: Cli, plate: PlateFiles, tmp_path: Path) -> None:
    table = tmp_path / "load_data.csv"
    row = f"P1,A01,1,a.tif,s3://key:{SECRET}@bucket/images"
    header = "Metadata_Plate,Metadata_Well,Metadata_Site,FileName_OrigDNA,PathName_OrigDNA"
    table.write_text(f"{header}\n{row}\n")
    (tmp_path / "layout.csv").write_text("well,perturbation,role\nA01,x,negative_control\n")
    content = describe_pipeline(plate, screen=False)
    content["stages"][0] |= {"source": str(table), "layout": str(tmp_path / "layout.csv")}
    (tmp_path / "p.yaml").write_text(json.dumps(content))
    code, said = cli("run", tmp_path / "p.yaml", tmp_path / "e", "--yes", "--cluster", "none")
    assert code == 2, said
    assert SECRET not in said
    assert find_secret(tmp_path) == [str(table)]


@pytest.mark.parametrize("address", [f"tls://me:{SECRET}@host:8786", f"tcp://x:{SECRET}@h:1"])
def test_in_the_schedulers_address(address: str, cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    code, said = cli("run", pipeline, tmp_path / "e", "--yes", "--cluster", address)
    assert code == 2, said
    assert SECRET not in said
    assert find_secret(tmp_path) == []


def test_in_a_cluster_file(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"type: connect\naddress: tls://me:{SECRET}@host:8786\n")
    code, said = cli("run", pipeline, tmp_path / "e", "--yes", "--cluster", file)
    assert code == 2, said
    assert SECRET not in said
    file.write_text(
        f"type: slurm\nsecurity: {{tls_client_key: {SECRET}}}\n"
        f"cpu: {{jobs: 1, job_script_prologue: ['export AWS_SECRET_ACCESS_KEY={SECRET}']}}\n"
        f"gpu: {{jobs: 1, job_script_prologue: ['export KEY={SECRET}']}}\n"
    )
    assert SECRET in str(load_cluster(str(file)))
    written = load_cluster(str(file)).model_dump(exclude=_UNTOLD)
    assert SECRET not in str(written)
    assert written["cpu"]["jobs"] == 1
