"""What kind of file one is, by how it begins; what cannot be read as requests or rows is said in one sentence."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

UTF_8_BOM = b"\xef\xbb\xbf"
UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
# What separates the columns of a table, by how its name ends.
SEPARATORS = {".csv": ",", ".tsv": "\t"}
UTF_32_BOMS = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")

_SHEET = "save the sheet as CSV (UTF-8), which is read as rows"
_UNPACK = "decompress it, or compress it with gzip, which is read"
_MAGIC: Sequence[tuple[bytes, str]] = (
    (b"\xd0\xcf\x11\xe0", f"is an old Excel or Word file; {_SHEET}"),
    (b"PAR1", "is a Parquet file; export it as CSV or JSONL, or give it to `batches-mcp job submit`"),
    (b"%PDF", "is a PDF, not requests or rows; put it into a request as a document"),
    (b"SQLite format 3\x00", "is an SQLite database; export a table as CSV"),
    (b"\x28\xb5\x2f\xfd", f"is compressed with zstd; {_UNPACK}"),
    (b"BZh", f"is compressed with bzip2; {_UNPACK}"),
    (b"\xfd7zXZ", f"is compressed with xz; {_UNPACK}"),
    *((bom, "is UTF-32; save it as UTF-8") for bom in UTF_32_BOMS),
)
_NO_TEXT = "is not text; expected JSONL, JSON or CSV"
_CONTROLS = bytes({*range(32)} - {*b"\t\n\r\f\x1b"})
_LEAST_TEXT = 0.98
_ZIP = b"PK\x03\x04"
_JSON_STARTS = (b"{", b"[")
_JSON = (".json", ".jsonl", ".ndjson")
_LINES_COMPARED = 5
_MOST_NAMED = 10

ROWS = "is CSV, with the columns"

_LINE = re.compile(r"[^\r\n]+")
# A member of an object that opens in the line before: JSON that is printed for people.
_PRINTED = re.compile(rb'\s*\{[ \t]*\r?\n\s*"(?!requests")')


def unreadable(head: bytes, name: str) -> str:
    """Why a file that begins like this is no text; empty when it may be."""
    for magic, sentence in _MAGIC:
        if head.startswith(magic):
            return sentence
    if head.startswith(_ZIP):
        return _zip(head, name)
    if b"\0" not in head:
        return _NO_TEXT if len(head.translate(None, _CONTROLS)) < len(head) * _LEAST_TEXT else ""
    for order in (0, 1):
        every_second = head[order::2]
        if every_second.count(b"\0") > len(every_second) // 2 and b"\0" not in head[1 - order :: 2]:
            return "is UTF-16 without a byte order mark; save it as UTF-8"
    return _NO_TEXT


def _zip(head: bytes, name: str) -> str:
    if b"xl/" in head or name.lower().endswith((".xlsx", ".xlsm")):
        return f"is an Excel workbook; {_SHEET}"
    if b"opendocument.spreadsheet" in head:
        return f"is an OpenDocument spreadsheet; {_SHEET}"
    return "is a zip archive; name the file that is in it, unpacked"


def is_table(head: bytes, name: str) -> bool:
    """Whether rows are separated values: by the file's name, or by how it begins."""
    if suffix(name) in SEPARATORS:
        return True
    if not head.strip() or head.removeprefix(UTF_8_BOM).lstrip().startswith(_JSON_STARTS):
        return False
    return suffix(name) not in _JSON or len(_columns(head, name)) > 1


def suffix(name: str) -> str:
    """How a file's name ends, but for `.gz`: `.csv`; empty when it has no ending."""
    ending = name.lower().removesuffix(".gz").rpartition(".")[2]
    return f".{ending}" if ending.isalnum() and len(ending) < len(name) else ""


def no_requests(head: bytes, name: str) -> str:
    """Why a text that begins like this holds no requests; empty when it may. Rows in it are `ROWS`."""
    if _PRINTED.match(head):
        return "is JSON over several lines; write each request in one line (jq -c .), or all in one JSON array"
    if head.removeprefix(UTF_8_BOM).lstrip().startswith(_JSON_STARTS):
        return ""
    columns = _columns(head, name)
    if not columns:
        return ""
    shown = ", ".join(columns[:_MOST_NAMED]) + (", ..." if len(columns) > _MOST_NAMED else "")
    return f"{ROWS} {shown}, and its rows are not requests in JSON"


def _columns(head: bytes, name: str) -> list[str]:
    """The columns of a table that begins like this; none when it is not likely to be one."""
    first, *others = _LINE.findall(head.decode("utf-8-sig", "replace"))[:_LINES_COMPARED] or [""]
    separator = separator_of(first, suffix(name))
    columns = fields(first, separator)
    alike = len(columns) > 1 and any(len(fields(line, separator)) == len(columns) for line in others)
    json = any(line.startswith("{") for line in others)
    return columns if suffix(name) in SEPARATORS or (alike and not json) else []


def separator_of(header: str, ending: str, wanted: Sequence[str] = ()) -> str:
    """What separates the columns of a header: what makes columns of all that is wanted, else the most columns."""
    usual = SEPARATORS.get(ending, ",")
    candidates = [usual, *(each for each in (",", ";", "\t") if each != usual)]
    split = {separator: fields(header, separator) for separator in candidates}
    fitting = [separator for separator in candidates if wanted and set(wanted) <= set(split[separator])]
    return max(fitting or candidates, key=lambda separator: len(split[separator]))


def fields(line: str, separator: str) -> list[str]:
    """The fields of one line; those of a line that is not complete as far as they go."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return [line]
