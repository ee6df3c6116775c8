"""Which channels, focal planes and times of a source are taken."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from i2r.errors import InputError, SeveralPlanesError
from i2r.readers import ReaderOptions, did_you_mean
from i2r.readers.names import EXAMPLES, natural_key
from i2r.readers.planes import Plane
from i2r.store import files


def choose_time(where: str, times: Iterable[str], options: ReaderOptions) -> str:
    """Choose one of a source's time points, as it writes them.

    Raises
    ------
    InputError
        If there are several and none is chosen, or the chosen one isn't there.
    """
    known = sorted(set(times), key=natural_key)
    if len(known) < 2:  # times inside the files are their reader's matter
        return known[0] if known else ""
    if options.time == "refuse":
        raise InputError(
            f"{where}: found {len(known)} time points, expected one. Set 'time' (init: --time) to "
            f"the index of one, 0 to {len(known) - 1}, and give each as a source of its own."
        )
    if options.time >= len(known):
        raise InputError(
            f"{where}: found {len(known)} time points, expected one of the index {options.time}. "
            f"Set 'time' to 0 to {len(known) - 1}."
        )
    return known[options.time]


def choose_channels(
    planes: list[Plane], options: ReaderOptions, where: str
) -> tuple[list[Plane], list[str]]:
    """Rename channels and drop those that weren't asked for."""
    if not options.channels:
        return planes, []
    counts = Counter(plane.channel for plane in planes)
    wanted = _resolve_numbers(planes, options.channels)
    absent = [raw for raw in wanted if raw not in counts]
    if absent:
        hints = "".join(did_you_mean(raw, counts) for raw in absent[:1])
        raise InputError(
            f"{files.without_secrets(where)}: channels {', '.join(map(repr, absent))} of the "
            f"option 'channels' are nowhere; found {', '.join(map(repr, sorted(counts)))}.{hints}"
        )
    names = Counter(options.channels.values())
    if twice := [name for name, n in names.items() if n > 1]:
        raise InputError(
            f"channels: the name {twice[0]!r} is given to several channels, expected one each. "
            "Give them different names."
        )
    chosen = [p._replace(channel=wanted[p.channel]) for p in planes if p.channel in wanted]
    left_out = [f"{raw} ({n} files)" for raw, n in sorted(counts.items()) if raw not in wanted]
    return chosen, [f"channels left out: {', '.join(left_out)}"] if left_out else []


def _resolve_numbers(planes: list[Plane], channels: Mapping[str, str]) -> dict[str, str]:
    """Put the names of files' channels in place of their numbers, counted from 0."""
    names = {plane.channel for plane in planes}
    numbers = [raw for raw in channels if raw not in names and raw.isdecimal()]
    if not numbers:
        return dict(channels)
    # The order of a file's channels, where all files have the same.
    by_file: dict[str, dict[str, None]] = defaultdict(dict)
    for plane in planes:
        by_file[plane.url][plane.channel] = None
    orders = {tuple(found) for found in by_file.values()}
    order = orders.pop() if len(orders) == 1 else ()
    return {
        order[int(raw)] if raw in numbers and int(raw) < len(order) else raw: name
        for raw, name in channels.items()
    }


def choose_z(planes: list[Plane], options: ReaderOptions, where: str) -> list[Plane]:
    """Apply the option `z`."""
    if isinstance(options.z, int):
        chosen = [plane for plane in planes if plane.z == options.z]
        if planes and not chosen:
            known = ", ".join(map(str, sorted({plane.z for plane in planes})[:10]))
            raise InputError(
                f"{files.without_secrets(where)}: no focal plane {options.z}, found {known}. "
                "Set 'z' to one of them or to 'max'."
            )
        return chosen
    if options.z == "refuse":
        several = defaultdict(set)
        for plane in planes:
            several[plane[:4]].add(plane.z)
        for (plate, well, field, channel), numbers in several.items():
            if len(numbers) > 1:
                raise SeveralPlanesError(
                    f"plate {plate!r} well {well.name!r} field {field} channel {channel!r}: found "
                    f"{len(numbers)} focal planes ({', '.join(map(str, sorted(numbers)[:5]))}), "
                    "expected one. Set 'z: max' for the maximum over planes, or 'z' to one of them."
                )
    return planes


def find_thin_stacks(planes: list[Plane]) -> list[str]:
    """Name the fields that have fewer focal planes of a channel than most of its plate."""
    counts = Counter(plane[:4] for plane in planes)
    usual: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for (plate, _, _, channel), n_planes in counts.items():
        usual[plate, channel][n_planes] += 1
    thin = [
        f"plate {plate!r} well {well.name} field {field} channel {channel!r} has {n_planes} focal "
        f"planes, most have {most}"
        for (plate, well, field, channel), n_planes in counts.items()
        if n_planes < (most := usual[plate, channel].most_common(1)[0][0])
    ]
    more = [f"{len(thin) - EXAMPLES} more fields have fewer focal planes than most"]
    return [*thin[:EXAMPLES], *(more if len(thin) > EXAMPLES else [])]
