"""Files of weights hold tensors and plain values, and unpack into no more than their own size."""

import io
import pickle
import tracemalloc
import zipfile

import pytest
import torch

from i2r.models.saved import load_tensors
from i2r.models.unet_inference import load_network, read_packaged_weights
from i2r.models.weights import decode_state, encode_state

HUGE = 2**26


def pack_again(data: bytes) -> bytes:
    """Compress the parts of a file of torch's."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    return buffer.getvalue()


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_wrote_comes_back(is_zip: bool) -> None:
    buffer = io.BytesIO()
    state = {"a": torch.arange(5), "b": [1, "x"], "c": torch.zeros(0)}
    torch.save(state, buffer, _use_new_zipfile_serialization=is_zip)
    found = load_tensors(buffer.getvalue())
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["b"] == [1, "x"]
    assert found["c"].shape == (0,)


def test_a_small_file_that_is_huge_when_unpacked_is_refused_before_it_is() -> None:
    data = pack_again(encode_state({"weight": torch.zeros(HUGE // 4)}))
    assert len(data) < HUGE / 100
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bytes when unpacked from"):
            load_tensors(data)
        with pytest.raises(ValueError, match="no file of weights"):
            decode_state(data)
        with pytest.raises(ValueError, match=r"no weights of the segmentation network .* unpacked"):
            load_network(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < HUGE / 4


def test_the_weights_that_ship_are_not_packed() -> None:
    assert load_tensors(read_packaged_weights())


def test_code_is_not_run() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit",))

    buffer = io.BytesIO()
    torch.save({"a": Evil()}, buffer)
    for data in (buffer.getvalue(), pickle.dumps(Evil())):
        with pytest.raises(ValueError, match="without running code"):
            decode_state(data)
