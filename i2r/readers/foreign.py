"""What a folder or a file holds that no reader takes, and what to do about it."""

from collections import Counter

from i2r.errors import InputError
from i2r.readers.omeimages import read_ome
from i2r.readers.sources import list_places
from i2r.store import files

_BIOFORMATS = (
    "export TIFF with the microscope's program, or convert with bioformats2raw, which makes an "
    "OME-Zarr plate that i2r reads"
)
# What people have that i2r doesn't read, by the ending of the name.
_ADVICE = {
    **dict.fromkeys(
        ("czi", "nd2", "lif", "lof", "oib", "oif", "vsi", "flex", "mea", "c01", "dib", "stk",
         "nd", "btf", "ims", "zvi", "lsm", "dv", "xdce", "mvd2", "obf", "scn", "svs"),
        _BIOFORMATS,
    ),
    **dict.fromkeys(("zip", "tar", "tgz", "gz", "7z", "rar", "bz2", "xz"), "unpack it"),
    **dict.fromkeys(("bmp", "jp2", "gif", "webp", "dng"), "save the images as TIFF or PNG"),
    **dict.fromkeys(("xlsx", "xls", "ods"), "save the table as CSV"),
    **dict.fromkeys(
        ("mlf", "mrf", "wpi", "wpp", "xml"), "give the folder with the images, beside it or above"
    ),
}  # fmt: skip
_ALWAYS = "expected TIFF, PNG or JPEG files, an OME-Zarr plate, or a CSV table of files"


def explain_content(source: str) -> str:
    """Say what is at a place where no image was found, and what to do.

    Parameters
    ----------
    source
        A folder or a file that is there.
    """
    if _is_ome_image(source):
        return (
            "an OME-Zarr image, no plate; expected a plate, whose metadata list its wells. Write "
            "it as a plate, or give a folder of TIFF files."
        )
    name = source.rpartition("/")[2]
    try:
        if not files.list_folder(source):
            return "found no files, expected a folder of images. Correct the source."
    except InputError:  # it is a file
        if name.lower().endswith((".tif", ".tiff", ".png", ".jpg", ".jpeg")):
            return (
                "one image file, expected a folder of them. Give its folder, with --pattern "
                "(in a pipeline: pattern) if its name is an unusual one."
            )
        advice = _ADVICE.get(_ending(name), "correct the source")
        return f"one file that i2r does not read as a source, {_ALWAYS}. Please {advice}."
    endings: Counter[str] = Counter()
    written: dict[str, str] = {}
    n_images = sum(map(_is_ome_image, list_places(source)))
    for file in files.find_files(source, lambda path: True):
        spelled = file.path.rpartition(".")[2]
        endings[_ending(file.path)] += 1
        written.setdefault(_ending(file.path), spelled)
    if n_images:
        return (
            f"found {n_images} OME-Zarr image(s), but no plate, whose metadata list its wells. "
            "Write them as a plate, or give a folder of TIFF files."
        )
    known = [ending for ending, _ in endings.most_common() if ending in _ADVICE]
    ending = known[0] if known else (endings.most_common(1) or [("", 0)])[0][0]
    n_files = endings[ending]
    what = f".{written[ending]} file" if ending else "file without an ending"
    advice = _ADVICE.get(ending, "correct the source")
    return (
        f"found {n_files} {what}{'s' if n_files != 1 else ''}, which i2r does not read, {_ALWAYS}. "
        f"Please {advice}."
    )


def _ending(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower() if "." in path else ""


def _is_ome_image(place: str) -> bool:
    return "multiscales" in read_ome(place)
