"""Harmony's flat-field profiles: found in an index and beside it, drawn, and divided out."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from i2r.errors import InputError
from i2r.pipeline.spec import parse_pipeline
from i2r.readers import ReaderOptions
from i2r.readers.flatfield import locate_profile, name_profile
from i2r.readers.illumination import read_function
from i2r.readers.phenix import scan
from i2r.store.experiment import open_experiment
from tests.conftest import run_here
from tests.readers.conftest import describe_phenix, describe_phenix_image

SHAPE = (24, 32)
ENTRY = '<Entry ChannelID="{channel}"><FlatfieldProfile>{text}</FlatfieldProfile></Entry>'


def describe_profile(
    coefficients: str = "[[1.1],[0.1,-0.05],[-0.2,0.1,-0.3]]", *, dims: str = "[32,24]"
) -> str:
    sensor = np.array(json.loads(dims), dtype=float)
    origin = ((sensor - 1) / 2).tolist()
    profile = (
        f"Profile: {{Coefficients: {coefficients}, Dims: {dims}, Origin: {origin}, "
        f"Scale: {(2 / sensor).tolist()}, Type: Polynomial}}"
    )
    return (
        "{Background: {Character: NonFlat, Mean: 120.5, NoiseConst: 1.7}, Channel: 1, ChannelName: "
        f"DAPI, Foreground: {{Character: NonFlat, Mean: 512.1, NoiseConst: 1.7, {profile}}}, "
        "Version: Acapella:2013}"
    )


def expect() -> np.ndarray:
    """The polynomial of `describe_profile`, written out."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    x, y = (x - 15.5) / 16, (y - 11.5) / 12
    return 1.1 + 0.1 * x - 0.05 * y - 0.2 * x**2 + 0.1 * x * y - 0.3 * y**2


def write_profiles(path: Path, *texts: str) -> str:
    entries = "".join(ENTRY.format(channel=n, text=text) for n, text in enumerate(texts, start=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<FFCProfile><Map>{entries}</Map></FFCProfile>")
    return str(path)


def write_measurement(folder: Path, *, index: bool) -> Path:
    """Write a plate of even fields seen in uneven light, with its profile."""
    places = folder / "Images"
    places.mkdir(parents=True)
    images = []
    for column, role in ((1, 900), (2, 700)):
        plane = np.rint(role * expect()).astype(np.uint16)
        tifffile.imwrite(places / f"r01c{column:02}.tiff", plane)
        images.append(describe_phenix_image(f"r01c{column:02}.tiff", 1, column, "1", 1, "DAPI"))
    text = describe_phenix("P1", images)
    if index:
        entry = ENTRY.format(channel=1, text=describe_profile())
        text = text.replace("<Images>", f"<Maps><Map>{entry}</Map></Maps><Images>", 1)
    else:
        write_profiles(folder / "FFC_Profile" / "FFC_Profile_Measurement 1.xml", describe_profile())
    (places / "Index.idx.xml").write_text(text)
    return folder


def test_a_profile_is_the_polynomial_that_it_says(tmp_path: Path) -> None:
    flat = "{Background: {Character: Flat}, Foreground: {Character: Flat}}"
    url = write_profiles(tmp_path / "p.xml", describe_profile(), flat)
    np.testing.assert_allclose(read_function(name_profile(url, "1"), shape=SHAPE), expect(), 1e-6)
    assert (read_function(name_profile(url, "2"), shape=SHAPE) == 1).all()
    assert locate_profile(name_profile(url, "a/b#1")) == url
    assert locate_profile("a.npy") == "a.npy"


def test_a_binned_image_has_the_profile_of_its_sensor(tmp_path: Path) -> None:
    url = name_profile(write_profiles(tmp_path / "p.xml", describe_profile(dims="[64,48]")), "1")
    whole = read_function(url, shape=(48, 64))
    binned = read_function(url, shape=SHAPE)
    np.testing.assert_allclose(binned, whole.reshape(24, 2, 32, 2).mean(axis=(1, 3)), atol=2e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "no coefficients"),
        (describe_profile("[[1],[2]]"), "no polynomial"),
        (describe_profile("[[1],2]"), "no polynomial"),
        (describe_profile("__import__"), "no Coefficients"),
        (describe_profile(dims="[50,24]"), "of 50 x 24 px"),
        (describe_profile("[[-1]]"), "0, negative or not finite"),
        (describe_profile("[[1e999]]"), "no polynomial"),
    ],
)
def test_damaged_profiles_are_refused(tmp_path: Path, text: str, words: str) -> None:
    url = name_profile(write_profiles(tmp_path / "p.xml", text), "1")
    with pytest.raises(InputError, match=words):
        read_function(url, shape=SHAPE)
    with pytest.raises(InputError, match="no flat-field profile of channel '7'"):
        read_function(name_profile(locate_profile(url), "7"), shape=SHAPE)
    with pytest.raises(InputError, match="no such file"):
        read_function(name_profile(str(tmp_path / "none.xml"), "1"), shape=SHAPE)


@pytest.mark.parametrize("index", [True, False])
def test_images_are_divided_by_the_profile_of_their_measurement(
    tmp_path: Path, index: bool
) -> None:
    source = write_measurement(tmp_path / "m", index=index)
    images, notes = scan(str(source), ReaderOptions())
    assert images["illumination"].str.endswith(".xml#channel=1").all()
    assert "flat-field profiles are listed: stage 'illuminate', method 'given'" in notes
    (tmp_path / "layout.csv").write_text(
        "plate,well,perturbation,role\nP1,A01,DMSO,negative_control\nP1,A02,x,treated\n"
    )
    convert = {"stage": "convert", "source": str(source), "layout": str(tmp_path / "layout.csv")}
    stages = [convert, {"stage": "illuminate", "method": "given"}]
    pipeline = parse_pipeline({"stages": stages}, where="test")
    assert run_here(pipeline, tmp_path / "e").exit_code == 0
    plate = open_experiment(str(tmp_path / "e")).plates["P1"]
    corrected = plate.images("A01", after=["illuminate"]).compute()
    assert np.ptp(corrected) <= 3
