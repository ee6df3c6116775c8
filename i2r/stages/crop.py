"""Cut one tile per nucleus; every nucleus is accounted for with a reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from i2r.kernels.crops import MEASURED, crop_fields
from i2r.stages.base import Stage
from i2r.stages.counts import count_nuclei
from i2r.stages.outputs import Output
from i2r.stages.written.images import CROP
from i2r.store import tables
from i2r.store.arrays import write_crops
from i2r.store.experiment import Experiment
from i2r.store.plate import StoredFields

# The published tile (see `Crop`), and below which part of its pixel size pixels count as finer.
PUBLISHED_SIZE_PX, PUBLISHED_PIXEL_UM, FINER = 64, 0.65, 0.9


# By experiment and stage: the edge of what is cut on every plate.
_CUTS: WeakKeyDictionary[Experiment, dict["Crop", list[tuple[str, int]]]] = WeakKeyDictionary()


class Crop(Stage):
    """Cut crops: tiles of one size centred on the nuclei, all channels, raw values.

    The limits are those of Image2Reg (Paysan et al., Cell Systems 2025) at 0.656 um per pixel:
    area 400 to 4,000 px, bounding box up to 4,000 px, solidity and aspect ratio at least 0.1,
    and both sides of the bounding box within the tile. The tile is 64 px of 0.65 um: where pixels
    are finer, 41.6 um are cut and resampled to 64 px. Every labelled nucleus is a row of the
    table, those without a crop with the reason.
    """

    stage: Literal["crop"] = "crop"
    mask: bool = Field(True, description="Set everything outside the nucleus to zero")
    size_px: int = Field(64, ge=8, le=512, description="Edge of a crop")
    size_um: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Edge of what is cut, in microns, resampled to size_px (default: 41.6 for "
        "crops of 64 px where pixels are finer than 0.585 um; else pixels as they are)",
    )
    min_area_um2: float = Field(172.0, ge=0, description="Smaller nuclei get no crop")
    max_area_um2: float = Field(1720.0, gt=0, description="Larger nuclei get no crop")
    max_bbox_um2: float = Field(1720.0, gt=0, description="Larger bounding boxes get no crop")
    min_solidity: float = Field(0.1, ge=0, le=1, description="Area over convex area")
    min_aspect_ratio: float = Field(0.1, ge=0, le=1, description="Minor over major axis")
    exclude_border: bool = Field(
        True, description="Leave out nuclei that the edge of the field cuts"
    )

    # Where it changes the crops it is in `fingerprint_inputs`.
    outputs: ClassVar[tuple[Output, ...]] = CROP
    not_fingerprinted: ClassVar[frozenset[str]] = frozenset({"size_um"})
    upstream_verbs: ClassVar[Mapping[str, bool]] = {
        "convert": True,
        "illuminate": False,
        "quality": False,
        "segment": True,
    }

    def limits(self, pixel_size_um: float) -> dict[str, Any]:
        """Give the limits in pixels, as `i2r.kernels.crops.select_nuclei` takes them."""
        pixel_um2 = pixel_size_um**2
        return {
            "min_area_px": self.min_area_um2 / pixel_um2,
            "max_area_px": self.max_area_um2 / pixel_um2,
            "max_bbox_area_px": self.max_bbox_um2 / pixel_um2,
            "min_solidity": self.min_solidity,
            "min_aspect_ratio": self.min_aspect_ratio,
            "exclude_border": self.exclude_border,
        }

    def cut_px(self, pixel_size_um: float) -> int:
        """Give the edge of what is cut of a field, in its pixels; crops are resampled from it.

        Crops as published show 41.6 um in 64 pixels. Where pixels are finer, a nucleus would not
        fit into 64 of them.
        """
        if self.size_um is not None:
            return max(1, round(self.size_um / pixel_size_um))
        is_finer = pixel_size_um < FINER * PUBLISHED_PIXEL_UM
        if self.size_px == PUBLISHED_SIZE_PX and is_finer:
            return round(PUBLISHED_SIZE_PX * PUBLISHED_PIXEL_UM / pixel_size_um)
        return self.size_px

    def fingerprint_inputs(self, experiment: Experiment, key: str) -> object:
        """Describe the well's fields, and the edge of what is cut where crops are resampled."""
        plate, _ = experiment.locate(key)
        cuts = self.external_files(experiment)
        resampled = cuts if any(cut != self.size_px for _, cut in cuts) else None
        fields = experiment.wells[key].fields
        described = [fields, *plate.described, resampled]
        cut = self.cut_px(plate.pixel_size_um)
        return described if cut == self.size_px else [described, "cut_px", cut]

    def external_files(self, experiment: Experiment) -> list[tuple[str, int]]:
        """Give the plates' edges of what is cut, found once for all units."""
        known = _CUTS.setdefault(experiment, {})
        if self not in known:
            plates = experiment.plates.items()
            known[self] = sorted((n, self.cut_px(plate.pixel_size_um)) for n, plate in plates)
        return known[self]

    def notes(self, experiment: Experiment) -> list[str]:
        """Say of plates with finer pixels than the published that crops are resampled."""
        return [
            f"stage {self.title!r}: plate {plate.name!r}: tiles of {cut} px "
            f"({cut * plate.pixel_size_um:.3g} um) are resampled to {self.size_px} px"
            for plate in experiment.plates.values()
            if (cut := self.cut_px(plate.pixel_size_um)) != self.size_px
        ]

    def build(self, experiment: Experiment, key: str) -> Delayed:
        """Cut the crops of one well."""
        plate, _ = experiment.locate(key)
        fields = experiment.fields(key, self.needs)
        segment = self.upstream_title("segment")
        work = partial(
            crop_well,
            plate.find_images(key, fields, after=self.needs),
            plate.find_labels(key, fields, name=segment),
            nuclei_url=experiment.part_url(segment, key),
            fields=fields,
            limits=self.limits(plate.pixel_size_um),
            size=self.size_px,
            masked=self.mask,
            crops_url=experiment.crops_url(self.title, key),
            part_url=experiment.part_url(self.title, key),
            channels=plate.channels,
            after=self.needs,
            cut_px=self.cut_px(plate.pixel_size_um),
        )
        return delayed(work)()

    def finish(self, experiment: Experiment, keys: Sequence[str]) -> Delayed:
        """Merge the tables."""
        return delayed(tables.merge_tables)(self.merges(experiment, keys))

    def peak_bytes(self, experiment: Experiment, key: str) -> int:
        """Two fields with labels, and crops of all nuclei: one by one, together, and encoded.

        Before they are counted as many as fit side by side.
        """
        plate, _ = experiment.locate(key)
        n_fields, pixels = experiment.n_fields(key), plate.shape[1] * plate.shape[2]
        segment = self.upstream_title("segment")
        counted = experiment.ledger.result(segment, key) is not None
        crop_bytes = len(plate.channels) * self.size_px**2 * plate.dtype.itemsize
        n_nuclei = count_nuclei(experiment, segment, key)
        crops = n_nuclei * crop_bytes if counted else n_fields * plate.field_bytes()
        # Of the field at hand, before they are resampled.
        larger = n_nuclei * crop_bytes * self.cut_px(plate.pixel_size_um) ** 2 // self.size_px**2
        at_hand = 2 * plate.field_bytes() + 8 * pixels + larger // max(1, n_fields)
        return 3 * crops + 2 * at_hand + 512 * n_nuclei + 2**27

    def bytes_out(self, experiment: Experiment, key: str) -> int:
        """Masked crops take about a fifth of the field's pixels, whole tiles about half."""
        return experiment.well_bytes(key) // (5 if self.mask else 2)


def crop_well(
    images: StoredFields,
    labels: StoredFields,
    *,
    nuclei_url: str,
    fields: Sequence[str],
    limits: Mapping[str, Any],
    size: int,
    masked: bool,
    crops_url: str,
    part_url: str,
    channels: Sequence[str],
    after: Sequence[str],
    cut_px: int,
) -> dict[str, Any]:
    """Cut a well's crops, field after field, and write them and its part of the table.

    Parameters
    ----------
    images, labels
        The fields' images and label images.
    nuclei_url
        The well's measured nuclei.
    fields
        The fields' names.
    limits, size, masked, cut_px
        As for `i2r.kernels.crops.crop_fields`.
    crops_url, part_url
        Where to write.
    channels
        The channels' names.
    after
        The stages behind the pixels.

    Returns
    -------
    dict
        For the ledger: after, fields, nuclei (how many have a crop), left_out (why others don't).
    """
    crops, table = crop_fields(
        images,
        labels,
        tables.read_arrays(nuclei_url, MEASURED),
        fields=fields,
        limits=limits,
        size=size,
        masked=masked,
        cut_px=cut_px,
    )
    n_crops = int((table["crop"] >= 0).sum())
    assert n_crops == len(crops), "every crop is a row of the table, and the other way round"
    attributes: dict[str, Any] = {"channels": list(channels)}
    if cut_px != crops.shape[-1]:  # of the field's pixels, of which crops were resampled
        attributes["cut_px"] = cut_px
    write_crops(crops_url, crops, attributes=attributes)
    tables.write_table(part_url, table)
    reasons = Counter(table["reason"][table["crop"] < 0])
    return {
        "after": list(after),
        "fields": len(fields),
        "nuclei": n_crops,
        "left_out": dict(reasons.most_common()),
    }
