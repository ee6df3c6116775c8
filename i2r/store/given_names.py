"""Names that people give: of untreated wells, spoilt by spreadsheets, or written in two ways."""

import re
import unicodedata

# What untreated wells are called, without case, spaces and marks.
_UNTREATED = (
    r"dmso|etoh|ethanol|meoh|methanol|empty(?:vector)?|blank|un(?:treated|transfected|infected|"
    r"transduced|perturbed|stimulated|stained)|non?t?(?:treated|transfected|infected|transduced)|"
    r"mock|vehicle|veh|pbs|water|h2o|media|medium|buffer|solvent|ntc?|neg(?:ative)?(?:con(?:trol)?|"
    r"ct?rl|ctl)?|controls?|ctrl|ctl|nontarget\w*|scrambled?|scr|parental|wildtype|none|allstars?|"
    r"(?:firefly|renilla)?luc(?:iferase)?|renilla|e?gfp|bfp|rfp|mcherry|lacz|aavs1|rosa26|"
    r"safe(?:harbou?r|targeting)|(?:cells|medium|media)only|"
    r"no(?:cells?|treatment|virus|drug|compound|template|transfection|sirna|sgrna|grna|guide)"
)
_CONTROLS = re.compile(
    r"(?:si|sg|sh|g|p|lv|lenti)?(?:rna)?"
    rf"(?:(?:{_UNTREATED})(?:sirna|s?grna|shrna|rna|guides?|oligo|pool|sg|si|sh|cells?|wells?|\d)*)+"
)
# Months as spreadsheets write them, in the languages of western Europe.
_MONTH = (
    r"(?:jan(?:uary|v|eiro)?|ene|gen|feb(?:ruary)?|f[eé]vr?|fev|mar(?:ch|s)?|m[aä]r(?:z|s)?|mrz|mrt|"
    r"apr(?:il)?|avr(?:il)?|abr|may|ma[ij]|mei|mag|jun[ei]?|juin|giu|jul[yi]?|juil|lug|"
    r"aug(?:ust)?|ao[uû]t|ago|sep(?:t(?:ember)?)?|set|oct(?:ober)?|okt(?:ober)?|ott|out|"
    r"nov(?:ember)?|dec(?:ember)?|d[eé]c|dez(?:ember)?|dic|des)"
)
_DATE = re.compile(
    rf"\d{{1,2}}(?:[-/ ]|\. ?){_MONTH}\.?(?:[-/ .]\d{{2,4}})?|{_MONTH}\.?[-/. ]\d{{1,4}}|"
    r"\d{4}-\d\d?-\d\d?(?:[ T]\d\d?:\d\d.*)?|\d\d?[/.]\d\d?[/.](?:\d\d|\d{4})",
    re.IGNORECASE,
)
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?E\+?\d+", re.IGNORECASE)
# Excel's number of a day: from 2000 to 2049.
_SERIAL_DAYS = range(36526, 54789)
# Letters of other scripts and marks that look like those of a keyboard.
_ALIKE = str.maketrans(
    "АВЕКМНОРСТХУІЈЅаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧ‐‑‒–—−’‘“”",  # noqa: RUF001
    "ABEKMHOPCTXYIJSaeopcyxijsABEZHIKMNOPTYX------''\"\"",
)


def looks_untreated(name: str) -> bool:
    """Tell whether a name is that of wells without a treatment: DMSO, sgNTC_1, siLuciferase."""
    return bool(_CONTROLS.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())))


def is_mangled(name: str) -> bool:
    """Tell whether a spreadsheet has made a date, or a number in powers of ten, of a name.

    ``2-Sep`` was SEPTIN2, ``1-Mar`` MARCHF1 or MTARC1, ``2.31E+13`` a RIKEN clone: which one can't
    be told any more. Ziemann et al. 2016 (10.1186/s13059-016-1044-7).
    """
    return bool(_DATE.fullmatch(name) or _SCIENTIFIC.fullmatch(name))


def is_serial_day(name: str) -> bool:
    """Tell whether a name is a number that Excel has for a day: 44621 was 1-Mar, once MARCH1."""
    return name.isdecimal() and len(name) == 5 and int(name) in _SERIAL_DAYS


def names_nothing(name: str) -> bool:
    """Tell whether a cell is filled with marks alone, such as '-', '?' or '||'."""
    return bool(name) and not any(letter.isalnum() for letter in name)


def fold_spelling(name: str) -> str:
    """Fold what readers don't see: case, spaces, invisible letters, letters that look alike."""
    seen = "".join(c for c in name if unicodedata.category(c) != "Cf")
    plain = unicodedata.normalize("NFKC", seen.translate(_ALIKE))
    return " ".join(plain.casefold().split())


def tell_apart(first: str, second: str) -> str:
    """Name the first letters that differ, where a reader can't see any; else empty."""
    if " ".join(first.casefold().split()) == " ".join(second.casefold().split()):
        return "" if first.isascii() and second.isascii() else _list_letters(first, second)
    return _list_letters(first, second)


def _list_letters(first: str, second: str) -> str:
    pairs = zip(first + " ", second + " ", strict=False)
    here, there = next((a, b) for a, b in pairs if a != b)
    if here.casefold() == there.casefold() and here.isascii() and there.isascii():
        return ""
    return f" (U+{ord(here):04X} and U+{ord(there):04X})"
