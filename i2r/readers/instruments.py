r"""The names that instruments and their programs give to image files, as patterns.

Each was made from files or manuals of the instrument; what stands in it without a group is fixed
or says nothing about the plane. Times have a group, so that a series isn't taken for one image.
"""

from typing import NamedTuple

# Rows A to P, and to AF on 1,536-well plates; a letter or a digit before or after is not a well.
WELL = r"(?<![A-Za-z0-9])(?P<well>(?:A[A-F]|[A-Z])\d{1,2})"
_TIFF = r"\.(?:tiff?|TIFF?)$"
_PLATE = r"(?:^|/)(?P<plate>[^/]+?)_"


class Naming(NamedTuple):
    """An instrument, and the pattern that reads its files' paths below the source."""

    instrument: str
    pattern: str


# The first that reads the files is taken: the more a pattern asks for, the earlier it stands.
NAMINGS = (
    Naming(
        "Operetta and Opera Phenix",
        r"(?P<well>r\d{2}c\d{2})f(?P<field>\d+)p(?P<z>\d+)-ch(?P<channel>\d+)sk(?P<time>\d+)",
    ),
    Naming(
        "Yokogawa CV7000 and CV8000",
        _PLATE + r"(?P<well>[A-Z]{1,2}\d{2})_T(?P<time>\d+)F(?P<field>\d+)L\d+A\d+Z(?P<z>\d+)"
        r"C(?P<channel>\d+)\.(?:tiff?|png|TIFF?|PNG)$",
    ),
    Naming(
        "ImageXpress",
        _PLATE + r"(?P<well>[A-Z]{1,2}\d{2})_s(?P<field>\d+)_w(?P<channel>\d)"
        r"(?:_?[\[{]?[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}[\]}]?)?" + _TIFF,
    ),
    Naming(
        "InCell",
        r"(?P<row>[A-Z]{1,2}) - (?P<column>\d{1,2})\((?:fld (?P<field>\d+))?[^)]*?"
        r"(?:wv (?P<channel>[^)]*?))?(?: wix \d+)?(?: z (?P<z>\d+))?"
        r"(?: time (?P<time>\d+)[^)]*)?\)",
    ),
    Naming(
        "InCell 7",
        r"(?:^|[/_ ])(?P<row>[A-Z]{1,2})_(?P<column>\d{1,2})_f(?P<field>\d+)_c(?P<channel>\d+)"
        r"_x[^_/]*_m[^/]*?_z(?P<z>\d+)_t(?P<time>\d+)" + _TIFF,
    ),
    Naming(
        "Squid",
        WELL + r"_(?P<field>\d+)_(?P<z>\d+)_(?P<channel>(?:Fluorescence|BF)_[^/]+)" + _TIFF,
    ),
    Naming(
        "Cellomics",
        r"(?:^|[_/])(?P<plate>[^_/]+)_(?P<well>[A-Z]{1,2}\d{2})f(?P<field>\d+)d(?P<channel>\d+)\.",
    ),
    Naming(
        "ScanR",
        WELL + r"--W\d+--P(?P<field>\d+)--Z(?P<z>\d+)--T(?P<time>\d+)--(?P<channel>[^/]+)"
        r"\.[A-Za-z]+$",
    ),
    Naming(
        "Cytation and Gen5",
        WELL + r"_\d+_\d+(?:Z(?P<z>\d+))?_(?P<field>\d+)_(?P<channel>[^_/]+)_(?P<time>\d+)" + _TIFF,
    ),
    Naming(
        "Incucyte",
        r"_(?P<well>[A-Z]{1,2}\d{1,2})_(?P<field>\d+)_(?P<time>(?:\d+y\d+m)?\d+d_?\d+h\d+m)\.",
    ),
    Naming(
        "Micro-Manager",
        WELL + r"-Site_(?P<field>\d+(?:_\d+)?)/img_channel(?P<channel>\d+)_position\d+"
        r"_time(?P<time>\d+)_z(?P<z>\d+)" + _TIFF,
    ),
    Naming(
        "Micro-Manager 1",
        WELL + r"-Site_(?P<field>\d+(?:_\d+)?)/img_(?P<time>\d+)_(?P<channel>[^/]+)_(?P<z>\d+)"
        + _TIFF,
    ),
    Naming(
        "Nikon JOBS",
        r"Well(?P<well>[A-Z]{1,2}\d{1,2})_Point[A-Z]{1,2}\d{1,2}_(?P<field>\d+)"
        r"(?:_Z(?P<z>\d+))?_Channel(?P<channel>[^/]+?)_Seq\d+",
    ),
    Naming(
        "Columbus",
        r"(?:^|/)(?P<well>\d{6})-(?P<field>\d+)-(?P<time>\d{3})(?P<z>\d{3})(?P<channel>\d{3})\.",
    ),
)  # fmt: skip
