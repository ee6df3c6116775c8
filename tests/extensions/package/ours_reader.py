"""A reader: a folder with a list 'ours.txt' of its images: file, well, field and channel."""

from i2r.readers import ReaderOptions, Sources
from i2r.readers.sources import Found, build_sources
from i2r.store import files


def recognises(source: str) -> bool:
    """Tell whether a folder holds such a list."""
    return files.exists(f"{files.normalise_url(source)}/ours.txt")


def scan(source: str, options: ReaderOptions) -> Sources:
    """List the images that the list names."""
    base, found = files.normalise_url(source), []
    for line in files.read_bytes(f"{base}/ours.txt").decode().splitlines():
        name, well, field, channel = line.split()
        url = f"{base}/{name}"
        found.append(Found("", well, field, channel, "", url, files.stat(url)))
    return build_sources(found, options, where=source)
