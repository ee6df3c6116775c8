"""A scheduler that speaks tls:// only, with certificates made here: real processes on localhost."""

import datetime
import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import dask
import distributed
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from i2r.cluster import ClusterSpec, WorkerGroup, load_cluster
from i2r.errors import InputError
from i2r.pipeline.executors import OnCluster
from i2r.pipeline.run import run_pipeline
from i2r.store.experiment import open_experiment
from tests.pipeline.stubs import Finishing, chain

ROOT = Path(__file__).parents[2]


class Certificate(NamedTuple):
    """A certificate that vouches for itself, and its key."""

    cert: str
    key: str

    @property
    def security(self) -> dict[str, object]:
        """The arguments of dask's Security for all roles."""
        roles = ("client", "scheduler", "worker")
        own = {f"tls_{role}_{part}": getattr(self, part) for role in roles for part in self._fields}
        return {"tls_ca_file": self.cert, **own, "require_encryption": True}


def make_certificate(folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))


class Running(NamedTuple):
    """A scheduler with one worker."""

    address: str
    certificate: Certificate


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, file = make_certificate(folder), folder / "address.json"
    options = ["--tls-ca-file", certificate.cert, "--tls-cert", certificate.cert]
    options += ["--tls-key", certificate.key, "--no-dashboard", "--scheduler-file", str(file)]
    commands = (
        ["scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0"],
        ["worker", "--nthreads", "1", "--resources", "CPU=1,GPU=0", "--death-timeout", "60"],
    )
    with ExitStack() as stack:
        for command, *more in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{command}", *more, *options],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
            # It appears before it is complete.
            while not (file.exists() and file.read_text().endswith("}")):
                assert process.poll() is None
                time.sleep(0.05)
        yield Running(json.loads(file.read_bytes())["address"], certificate)


def check_run(folder: Path, spec: object) -> None:
    pipeline = chain(folder / "log", Finishing)
    summary = run_pipeline(pipeline, str(folder / "e"), cluster=spec, style="none")  # type: ignore[arg-type]
    assert summary.ran == {"source": 6, "finishing": 7}
    workers = {entry.worker for entry in open_experiment(str(folder / "e")).ledger.entries()}
    assert "this process" not in workers


def test_dasks_own_configuration_is_used_for_an_address(running: Running, tmp_path: Path) -> None:
    cert, key = running.certificate
    assert running.address.startswith("tls://")
    assert distributed.__version__  # imported later, it would take its defaults back
    own = {"ca-file": cert, "client.cert": cert, "client.key": key}
    with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in own.items()}):
        check_run(tmp_path, load_cluster(running.address))


def test_a_cluster_file_may_name_the_certificates(running: Running, tmp_path: Path) -> None:
    cert, key = running.certificate
    file = tmp_path / "cluster.yaml"
    security = {"tls_ca_file": cert, "tls_client_cert": cert, "tls_client_key": key}
    content = {"type": "connect", "address": running.address, "security": security}
    file.write_text(json.dumps(content))
    check_run(tmp_path, load_cluster(str(file)))
    record = (tmp_path / "e" / "runs" / "000001.json").read_text()
    assert running.address in record
    assert "key.pem" not in record


def test_strangers_are_refused_in_one_line(running: Running, tmp_path: Path) -> None:
    plain = running.address.replace("tls://", "tcp://")
    lost = running.certificate.security | {"tls_client_key": str(tmp_path / "lost.pem")}
    for address, security, message in (
        (running.address, None, "no certificates"),
        (running.address, make_certificate(tmp_path / "own").security, "no scheduler answers"),
        (running.address, lost, "certificates can't be read"),
        (plain, None, "no scheduler answers"),
        (plain, running.certificate.security, "encryption is required"),
    ):
        spec = ClusterSpec(type="connect", address=address, security=security)
        with pytest.raises(InputError, match=message) as refused:
            check_run(tmp_path, spec)
        assert len(str(refused.value).splitlines()) == 1


def name_worker(argument: object, worker: str) -> str:
    return worker


def test_workers_of_this_machine_speak_tls_too(tmp_path: Path) -> None:
    spec = ClusterSpec(
        cpu=WorkerGroup(n_workers=1, memory_limit="1GiB"), gpu=WorkerGroup(n_workers=0),
        dashboard_address="127.0.0.1:0", security=make_certificate(tmp_path).security,
    )  # fmt: skip
    with OnCluster(spec) as executor:
        assert executor._address.startswith("tls://")
        executor.submit(1, "one", name_worker, None, group="cpu", threads=1)
        (answer,) = executor.wait(60)
    assert (answer.value, answer.error) == ("cpu-0", None)
