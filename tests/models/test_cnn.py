import pytest
import torch

from i2r.models.cnn import build_network, choose_precision, measure_statistics, mix_precision

WIDTHS = (4, 8, 8)


def test_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_network(2, widths=WIDTHS, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    kernels = [network.features[0].weight for network in (first, again, other)]
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0], kernels[2])


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_float32_for_any_size_and_precision(side: int, dtype: torch.dtype) -> None:
    network = build_network(3, widths=WIDTHS, seed=0).eval()
    with torch.inference_mode(), mix_precision("cpu", dtype):
        logits = network(torch.rand(5, 3, side, side))
    assert logits.shape == (5,)
    assert logits.dtype == torch.float32


def test_bfloat16_is_close_to_float32() -> None:
    network = build_network(1, widths=WIDTHS, seed=0).eval()
    crops = torch.rand(16, 1, 32, 32)
    with torch.inference_mode():
        exact = network(crops)
        with mix_precision("cpu", torch.bfloat16):
            rounded = network(crops)
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0.02)


def test_precision_is_what_was_asked_for() -> None:
    assert choose_precision("cpu", "float32") == torch.float32
    assert choose_precision("cpu", "bfloat16") == torch.bfloat16


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
    ],
)
def test_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision("cpu", "auto") == dtype


def test_a_torch_that_does_not_know_the_processor_takes_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("cpu", "auto") == torch.float32


def test_statistics_are_plain_averages_over_the_batches() -> None:
    network = build_network(1, widths=WIDTHS, seed=0)
    network(torch.rand(8, 1, 16, 16) + 5)
    batches = [torch.rand(8, 1, 16, 16), torch.rand(8, 1, 16, 16) * 3]
    measure_statistics(network, batches)
    convolution, normalisation = network.features[0], network.features[1]
    with torch.no_grad():
        means = [convolution(batch).mean(dim=(0, 2, 3)) for batch in batches]
        variances = [convolution(batch).var(dim=(0, 2, 3)) for batch in batches]
    torch.testing.assert_close(normalisation.running_mean, (means[0] + means[1]) / 2)
    torch.testing.assert_close(normalisation.running_var, (variances[0] + variances[1]) / 2)
    assert normalisation.momentum == 0.1
    assert not network.training
