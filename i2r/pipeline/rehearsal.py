"""Kernels called once on a few pixels, so that they are compiled: no stage.

Numba compiles a kernel when it is first called and keeps it on disk for all later runs. On the
first run all workers of a machine would come to the same kernels at the same time and each compile
all of them; so a run has every machine rehearse first, each of its workers another part.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from i2r.stages.base import Stage

SIZE_PX = 64
# Two nuclei that touch, so that they are split, one at the border, one by itself.
_DISKS = ((20, 20, 8), (20, 33, 8), (45, 2, 6), (48, 45, 9))


def draw_nuclei(
    dtype: npt.DTypeLike,
) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.int32]]:
    """Draw a field as cameras give it, 8 or 16 bit, and its label image; both (y, x)."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    image = 100.0 + (y + x) % 7
    labels = np.zeros(image.shape, dtype=np.int32)
    for label, (centre_y, centre_x, radius) in enumerate(_DISKS, start=1):
        inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2
        image += 100 * inside
        labels[inside] = label
    return image.astype(dtype), labels


def rehearse_convert(dtype: npt.DTypeLike) -> None:
    """Decode a strip of LZW, and make the overview of a field."""
    from i2r.kernels.lzw import decode_strips
    from i2r.store.images import shrink_image

    # Three codes of nine bits: clear, a byte, end.
    strip = (256 << 23 | 65 << 14 | 257 << 5).to_bytes(4, "big")
    decode_strips(strip, offsets=[0], lengths=[4], strip_bytes=1, out=np.empty(1, np.uint8))
    image, _ = draw_nuclei(dtype)
    image.setflags(write=False)  # as `convert` does; compiled for such images alone
    shrink_image(image[None], [1, 2])


def rehearse_quality(dtype: npt.DTypeLike) -> None:
    """Measure a field."""
    from i2r.kernels.quality import measure_quality

    image, _ = draw_nuclei(dtype)
    image.setflags(write=False)
    measure_quality(image)


def rehearse_illuminate(dtype: npt.DTypeLike) -> None:
    """Estimate a function and divide by it."""
    from i2r.kernels.illumination import bin_field, correct_plane

    image, _ = draw_nuclei(dtype)
    bin_field(image, block_px=4)
    image.setflags(write=False)
    correct_plane(image, np.ones(image.shape, dtype=np.float32))


def rehearse_segment(dtype: npt.DTypeLike) -> None:
    """Measure the nuclei of a field, and look for implausible ones, whoever segmented it."""
    from i2r.kernels.nuclei import measure_nuclei
    from i2r.kernels.quality import measure_evidence
    from i2r.store.images import shrink_labels

    image, labels = draw_nuclei(dtype)
    image.setflags(write=False)  # as fields of a store are; compiled for such images alone
    labels.setflags(write=False)
    measure_nuclei(labels, image[None])
    measure_evidence(image, labels)
    shrink_labels(labels, [1, 2])


def rehearse_threshold(dtype: npt.DTypeLike) -> None:
    """Segment a field by thresholds."""
    from i2r.kernels.light import keep_steep_objects, measure_light, measure_noise
    from i2r.stages.segment import ThresholdSegment

    image, _ = draw_nuclei(dtype)
    image.setflags(write=False)
    labels = ThresholdSegment(channel="").segmenter(1.0)(image)
    # Of fields whose light is uneven.
    measure_light(image, labels, window_px=20.0)
    noise = measure_noise(image, tile_px=SIZE_PX)
    keep_steep_objects(labels.copy(), image.astype(np.float32), noise, window_px=20.0)


def rehearse_unet(_dtype: npt.DTypeLike) -> None:
    """Make labels of a network's maps, and paste them into a field; needs no PyTorch."""
    from i2r.kernels.decoding import decode_nuclei
    from i2r.kernels.tiles import paste_tile, plan_tiles

    _, labels = draw_nuclei(np.uint16)
    # Channels last, as the network leaves them; compiled for such maps alone.
    maps = np.zeros((*labels.shape, 4), dtype=np.float32).transpose(2, 0, 1)
    maps[:2] = np.where(labels > 0, 5.0, -5.0)
    maps[1, 50:], maps[2, 50:] = -5.0, -30.0  # no centres, and out of the nuclei: flooded
    found = decode_nuclei(maps)
    canvas = np.zeros_like(labels)
    for tile in plan_tiles(labels.shape, max_side_px=SIZE_PX, margin_px=0):
        paste_tile(canvas, found, tile, n_before=0)


def rehearse_crop(dtype: npt.DTypeLike) -> None:
    """Cut crops of a field."""
    from i2r.kernels.crops import cut_crops

    image, labels = draw_nuclei(dtype)
    ids, bbox = _list_nuclei(labels)
    image.setflags(write=False)
    labels.setflags(write=False)
    for masked in (True, False):
        cut_crops(image[None], labels, label_ids=ids, bbox=bbox, size_px=32, masked=masked)


def rehearse_features(dtype: npt.DTypeLike) -> None:
    """Measure the features of a field's nuclei."""
    from i2r.kernels.chromatin import measure_chromatin
    from i2r.kernels.moments import measure_hu_moments
    from i2r.kernels.neighbourhood import measure_neighbourhood
    from i2r.kernels.outlines import measure_outlines
    from i2r.kernels.texture import measure_texture

    image, labels = draw_nuclei(dtype)
    ids, bbox = _list_nuclei(labels)
    y, x = (bbox[:, :2] + bbox[:, 2:]).T / 2.0
    image.setflags(write=False)
    labels.setflags(write=False)
    measure_outlines(labels, label_ids=ids, bbox=bbox)
    measure_hu_moments(labels, label_ids=ids, bbox=bbox)
    measure_chromatin(image, labels, label_ids=ids, bbox=bbox)
    measure_texture(image, labels, label_ids=ids, bbox=bbox, distances_px=[1])
    measure_neighbourhood(y, x, shape=labels.shape, radius_px=10.0)


def rehearse_interactome(_dtype: npt.DTypeLike) -> None:
    """Measure a network of a few genes by cells, find a tree in it, and improve it."""
    from scipy import sparse

    from i2r.kernels.edge_costs import correlate_edges, measure_information
    from i2r.kernels.pcst import solve_pcst
    from i2r.kernels.pcst.annealing import anneal_tree
    from i2r.kernels.pcst.rooted_tree import Network
    from i2r.kernels.pcst.trees import list_neighbours

    # A network on which no part of the search is left out: of most small ones the first tree is
    # proven to be the best.
    random = np.random.default_rng(2)
    edges = random.integers(0, 30, (60, 2))
    costs = random.choice([1.0, 1.5, 0.7, 2.0], 60)
    prizes = np.where(random.random(30) < 0.35, random.choice([1.0, 2.0, 0.5, 1.5], 30), 0)
    solve_pcst(edges, costs, prizes)
    # Of this network the best tree is proven before it would be annealed.
    ends, none = edges.astype(np.int32), np.empty(0, dtype=np.int64)
    net = Network(ends, costs, prizes, *list_neighbours(ends, len(prizes), np.arange(len(ends))))
    anneal_tree(net, np.argsort(costs), np.zeros(1, np.int32), none, seed=0, looks=100 * len(ends))
    cells = sparse.csc_array(np.arange(120, dtype=np.float32).reshape(4, 30) % 5)
    correlate_edges(cells, edges, ranked=True)
    measure_information(cells, edges)


def rehearse_map(_dtype: npt.DTypeLike) -> None:
    """Rank a few genes without two of them, in one space, and in a space for each."""
    from i2r.kernels.links import KEPT_BYTES, Link
    from i2r.kernels.mapping import rank_all_ways

    genes, embeddings = np.arange(4), np.eye(4, 3) + 0.1
    for n_spaces, kept_bytes in ((1, KEPT_BYTES), (4, KEPT_BYTES), (4, 0)):
        spaces = np.repeat(embeddings[None], n_spaces, axis=0)
        link = Link(genes, spaces, kept_bytes=kept_bytes)  # 0 is in single precision
        rank_all_ways([np.eye(4) + 0.1], link, [(False, True)])


def _list_nuclei(
    labels: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give labels (n,) and bounding boxes (n, 4)."""
    ids = np.arange(1, labels.max() + 1)
    places = [np.argwhere(labels == label) for label in ids]
    return ids, np.array([[*p.min(axis=0), *(p.max(axis=0) + 1)] for p in places])


REHEARSALS: MappingProxyType[str, tuple[Callable[[npt.DTypeLike], None], float]] = MappingProxyType(
    {
        "interactome": (rehearse_interactome, 32.0),
        "features": (rehearse_features, 20.0),
        "segment threshold": (rehearse_threshold, 11.0),
        "segment": (rehearse_segment, 3.0),
        "segment unet": (rehearse_unet, 3.0),
        "map": (rehearse_map, 2.0),
        "quality": (rehearse_quality, 1.0),
        "crop": (rehearse_crop, 1.0),
        "convert": (rehearse_convert, 2.0),
        "illuminate": (rehearse_illuminate, 0.5),
    }
)
"""By verb, or verb and method: what calls a stage's kernels, and about how many seconds they take
to compile."""


def choose_rehearsals(stages: Iterable[Stage]) -> list[str]:
    """List those of `REHEARSALS` that some stages need; what is imported is only segmented."""
    wanted = set[str]()
    for stage in stages:
        method = getattr(stage, "method", "")
        wanted.add(f"{stage.stage} {method}")
        if method != "import" or stage.stage == "segment":
            wanted.add(stage.stage)
    return [name for name in REHEARSALS if name in wanted]


def deal_rehearsals(verbs: Iterable[str], hands: int) -> list[list[str]]:
    """Deal stages out so that everybody has about as much to compile.

    Parameters
    ----------
    verbs
        Keys of `REHEARSALS`.
    hands
        How many workers there are.

    Returns
    -------
    list of list of str
        One list for each, the longest compilations first.
    """
    dealt: list[list[str]] = [[] for _ in range(hands)]
    seconds = [0.0] * hands
    for verb in sorted(verbs, key=lambda verb: -REHEARSALS[verb][1]):
        least = seconds.index(min(seconds))
        dealt[least].append(verb)
        seconds[least] += REHEARSALS[verb][1]
    return dealt


def rehearse(verbs: Iterable[str], dtypes: Iterable[str] = ("uint16",)) -> None:
    """Call the kernels of some stages, which compiles those that no earlier run has.

    Parameters
    ----------
    verbs
        Keys of `REHEARSALS`.
    dtypes
        Of images, each of which is compiled for.
    """
    for dtype in dtypes:
        for verb in verbs:
            REHEARSALS[verb][0](dtype)


def rehearse_all(n_processes: int) -> None:
    """Compile the kernels of all stages, for 16-bit and 8-bit images, before the first run.

    Numba keeps what it compiles beside i2r, or where `i2r.surroundings` found a folder, for this
    kind of processor.

    Parameters
    ----------
    n_processes
        How many compile at once, each another part.
    """
    hands = [verbs for verbs in deal_rehearsals(REHEARSALS, n_processes) if verbs]
    with ProcessPoolExecutor(len(hands), mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(rehearse, dtypes=("uint16", "uint8")), hands))
