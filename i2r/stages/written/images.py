"""What the stages of the image side write."""

from i2r.stages.outputs import Files, table

CONVERT = (
    table("", "One row per image file: where it came from and how it was read.", """
        plate well field channel
        z: whole: Focal plane in the file's own order, from 0
        url: text: Path or URL of the file
        page: whole: Page of the file, from 0
        size_bytes: whole bytes: Size of the file when it was listed
        mtime_ns: whole ns: When the file was last changed, since 1970
        illumination: text: Illumination function that the source names; empty for none
        problem: text: What is wrong with the file by its header; empty for nothing
        inverted: flag: Whether white was 0, so that values were turned
        dtype: text: Type of the pixels in the file
        height_px: whole px: Height of the field
        width_px: whole px: Width of the field
        pixel_size_um: number um: Edge of a pixel
        factor: number: What values were multiplied by, to become whole numbers
        sha256: text: Digest of the file's content
        reason: text: Why the field was excluded; empty for none
        message: text: The same for people, with what to do
        plate_format?: whole wells: Wells of the plate's format; 0 where nobody said
        x_um?: number um: Centre of the field in its well, to the right
        y_um?: number um: Centre of the field in its well, downwards
        oblong?: text: Width and height of a pixel that is not square; empty for square ones
    """),
    Files("images", "plates/PLATE.ome.zarr/ROW/COLUMN/FIELD", "OME-Zarr, (c, y, x) as measured"),
)  # fmt: skip

QUALITY = (
    table("", "One row per field and channel.", """
        plate well field channel
        focus: number: Variance of the Laplacian over the squared mean; low is out of focus
        saturated_fraction: number: Part of the pixels at the field's largest value
        mean: number: Mean of the pixels, in grey values
        background: number: Low percentile of the pixels, in grey values
        reason: text: Why the field was excluded; empty for none
    """),
)  # fmt: skip

ILLUMINATE = (
    table("", "One row per plate and channel.", """
        plate channel
        n_fields: whole: Fields that the function was estimated from
        least: number: Least value of the function
        greatest: number: Greatest value of the function
        divided_by: number: What values were divided by besides, so that they fit their type
    """),
    Files("illumination functions", "illumination/STAGE/PLATE.zarr/CHANNEL", "(y, x), float32"),
)  # fmt: skip

SEGMENT = (
    table("", "One row per nucleus.", """
        plate well field label
        area_px: whole px: Area
        area_um2: number um2: Area
        bbox_y0: whole px: First row of the bounding box
        bbox_x0: whole px: First column of the bounding box
        bbox_y1: whole px: Row after the last of the bounding box
        bbox_x1: whole px: Column after the last of the bounding box
        centroid_y_px: number px: Centroid, downwards from the field's upper edge
        centroid_x_px: number px: Centroid, to the right from the field's left edge
        major_axis_px: number px: Major axis of the ellipse with the same second moments
        minor_axis_px: number px: Minor axis of that ellipse
        eccentricity: number: Of that ellipse, 0 for a circle
        solidity: number: Area over the area of the convex hull
        touches_border: flag: Whether it touches the field's border
        mean_{channel}: number: Mean of the channel's pixels in the nucleus, in grey values
        std_{channel}: number: Standard deviation of these pixels
        min_{channel}: number: Least of these pixels
        max_{channel}: number: Greatest of these pixels
    """),
    table("-fields", "One row per field: what it and its labels say about each other.", """
        plate well field
        covered: number: Part of the pixels with a label, 0 to 1
        saturated: number: Part of the pixels at the camera's largest value, 0 to 1
        contrast: number sd: How far the brightest thousandth lies above the median, in robust sd
        unlabelled: number: Part of what is as bright as nuclei that has no label; missing without
        n_nuclei
        oversized: number: Part of the labelled area in nuclei that are far too large
        fragments: number: Part of nuclei that are far too small
        flag: text: What is implausible about the field; empty for nothing
    """, sometimes=True),
    Files("label images", "plates/PLATE.ome.zarr/ROW/COLUMN/FIELD/labels/STAGE", "(y, x), int32"),
)  # fmt: skip

CROP = (
    table("", "One row per nucleus that was found, cut out or not.", """
        plate well field label
        reason: text: Why it was left out; empty where it was cut out
        crop
    """),
    Files("crops", "nuclei/STAGE/PLATE.zarr/WELL", "(nucleus, c, y, x), as measured"),
)  # fmt: skip

FEATURES = (
    table("", "One row per nucleus; see `i2r.kernels.chromatin` for every feature.", """
        plate well field? label? crop?
        {feature}: number: A feature of the nucleus; the unit ends its name (um, um2)
    """),
)  # fmt: skip

PROFILES = (
    table("", "One row per well: features averaged, on the scale of the plate's control wells.", """
        plate well condition perturbation gene dose replicate role n_nuclei
        {feature}: number sd: A feature's mean; other columns of the layout keep their values
    """),
)  # fmt: skip
