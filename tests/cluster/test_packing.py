"""As many trainings at once as fit and are worth it, by what was measured."""

import pytest

from i2r.cluster.packing import Packing, choose_packing, measure_packings


def card(rates: list[float], *, size: int = 10, capacity: int = 100) -> list[Packing]:
    return [Packing(n, rate, n * size, capacity) for n, rate in enumerate(rates, start=1)]


@pytest.mark.parametrize(
    ("rates", "size", "chosen"),
    [
        ([100.0], 10, 1),
        ([100.0, 190.0, 260.0, 265.0, 400.0], 10, 3),
        ([100.0, 108.0], 10, 1),
        ([100.0, 60.0], 10, 1),
        ([100.0, 200.0, 300.0, 400.0], 27, 2),
        ([100.0, 200.0], 45, 1),
    ],
)
def test_it_stops_where_one_more_adds_nothing_or_does_not_fit(
    rates: list[float], size: int, chosen: int
) -> None:
    assert choose_packing(card(rates, size=size)) == chosen
    tried = []

    def measure(device: str, n: int, seconds: float) -> Packing:
        tried.append(n)
        return card(rates, size=size)[n - 1]

    found = measure_packings("cuda:0", most=len(rates), measure=measure)
    assert choose_packing(found) == chosen
    assert tried == list(range(1, min(chosen + 1, len(rates)) + 1)), "and looks no further"


def test_the_memory_of_a_cpu_sets_no_limit_here() -> None:
    assert choose_packing(card([100.0, 200.0, 300.0], size=90, capacity=0)) == 3


@pytest.mark.slow
def test_trainings_run_at_once_on_a_cpu() -> None:
    found = measure_packings("cpu", most=2, seconds=0.5)
    assert [packing.n for packing in found] == [1, 2]
    assert all(packing.nuclei_per_s > 0 for packing in found)
    assert found[1].n_bytes > 1.5 * found[0].n_bytes > 0
    assert choose_packing(found) in (1, 2)
