"""Planning: every row in exactly one part, in order, the same each time; and everything that is wrong, told at once."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batches_mcp.api.body import Frame
from batches_mcp.cluster import shards
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import ShardPlan, plan, problems_of
from batches_mcp.cluster.prepare import prepare
from batches_mcp.cluster.requests import row_of
from batches_mcp.cluster.shards import Shard
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.limits import Limits
from batches_mcp.requests.problems import MOST_SHOWN, Problem
from batches_mcp.work.intake import Temporary
from tests.support import parquet

AROUND = Frame(b'{"requests":[', b"]}", "2023-06-01", "")
MODEL = "claude-haiku-4-5"


def template(content: str) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": content}]}


@pytest.fixture
def files(tmp_path: Path) -> ShardFiles:
    folder = tmp_path / "shards"
    folder.mkdir()
    return ShardFiles(folder)


def shard_of(path: Path) -> Shard:
    [shard] = shards.find(str(path))
    return shard


def bodies(
    files: ShardFiles, shard: Shard, found: ShardPlan, given: dict[str, Any], around: Frame = AROUND
) -> list[Any]:
    """The requests of each part, as they are sent."""
    made = []
    for part in found.parts:
        drafts = Temporary()
        if part.requests:
            with drafts.draft() as path:
                body = prepare(files, shard, part, given, around, path, drafts.write)
                assert (body.content, body.rows, body.copy.length_bytes) == (
                    part.content,
                    part.requests,
                    part.body_bytes,
                )
                assert body.estimate == part.estimate
                made.append(json.loads(path.read_bytes())["requests"])
        else:
            made.append([])
    return made


def text_of(request: Any) -> str:
    return str(request["params"]["messages"][0]["content"])


# Ids


def test_the_ids_of_other_rows_or_of_another_template_are_others(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    files = ShardFiles(tmp_path / "shards")

    def ids(name: str, values: list[str | None], asks: str = "Say {{a}}") -> list[str]:
        shard = shard_of(parquet.made_of(tmp_path / f"{name}.parquet", "a", values))
        [sent] = bodies(files, shard, plan(files, shard, template(asks), AROUND), template(asks), AROUND)
        return [each["custom_id"] for each in sent]

    first = ids("first", ["x", "y"])
    assert [row_of(each) for each in first] == [0, 1]
    assert ids("same", ["x", "y"]) == first
    others = [ids("other", ["x", "z"]), ids("more", ["x", "y", "z"]), ids("first", ["x", "y"], "Tell {{a}}")]
    assert not set(first) & {each for other in others for each in other}


# Parts


@settings(max_examples=25)
@given(
    values=st.lists(st.none() | st.text(max_size=30), max_size=40),
    most_requests=st.integers(1, 9),
    most_bytes=st.integers(200, 2_000),
    limit=st.none() | st.integers(0, 50),
)
@example(values=[None, None], most_requests=1, most_bytes=200, limit=None)
@example(values=[None, "a", None, "b", "c", None], most_requests=1, most_bytes=2_000, limit=None)
def test_every_row_is_in_exactly_one_part_in_order(
    values: list[str | None], most_requests: int, most_bytes: int, limit: int | None
) -> None:
    values = [None if value is None else value.replace("\0", "") for value in values]
    limits = Limits(batch_requests=most_requests, part_bytes=most_bytes)
    around = replace(AROUND, limits=limits)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shards").mkdir()
        files, shard = ShardFiles(folder / "shards"), shard_of(parquet.made_of(folder / "in.parquet", "a b.c", values))
        found = plan(files, shard, template("Say {{a b.c}}"), around, limit)
        assert plan(files, shard, template("Say {{a b.c}}"), around, limit) == found
        rows = len(values) if limit is None else min(limit, len(values))
        assert found.rows == rows
        in_parts = [number for part in found.parts for number in range(part.first_row, part.first_row + part.rows)]
        assert in_parts == list(range(rows))
        assert found.left_out == sum(value is None for value in values[:rows])
        sent = bodies(files, shard, found, template("Say {{a b.c}}"), around)
        for part, requests in zip(found.parts, sent, strict=True):
            assert len(requests) == part.requests <= most_requests
            mine = range(part.first_row, part.first_row + part.rows)
            wanted = [(f"r{number:09}", f"Say {values[number]}") for number in mine if values[number] is not None]
            assert [(each["custom_id"].partition("-")[0], text_of(each)) for each in requests] == wanted
        assert msgspec.json.decode(msgspec.json.encode(found), type=ShardPlan) == found


def test_the_parts_are_those_of_a_batch_of_the_api(files: ShardFiles, tmp_path: Path) -> None:
    path = parquet.made(
        tmp_path / "in.parquet", "SELECT i AS id, 'text ' || i AS body FROM range(250_000) t(i)", 50_000
    )
    found = plan(files, shard_of(path), template("{{body}}"), AROUND)
    assert [(part.first_row, part.rows) for part in found.parts] == [
        (0, 100_000),
        (100_000, 100_000),
        (200_000, 50_000),
    ]
    assert [column.type for column in found.columns] == ["BIGINT", "VARCHAR"]
    assert found.problems == ()


def test_values_of_every_type_are_put_in_as_json_has_them(files: ShardFiles, tmp_path: Path) -> None:
    path = parquet.made(
        tmp_path / "in.parquet",
        "SELECT 7 AS n, 2.5 AS x, TRUE AS yes, DATE '2024-01-02' AS day, TIMESTAMP '2024-01-02 03:04:05' AS at, "
        "TIMESTAMPTZ '2024-01-02 03:04:05+02' AS zoned, [1, NULL] AS list, MAP {'k': 1} AS map, "
        "{'city': 'Köln \"am\" Rhein', 'geo': {'lat': 50.9}} AS address, 'nan'::DOUBLE AS nan",
    )
    given = template(
        "{{n}}|{{x}}|{{yes}}|{{day}}|{{at}}|{{zoned}}|{{list}}|{{map}}|{{address}}|{{address.city}}|{{address.geo.lat}}"
    )
    shard = shard_of(path)
    [[request]] = bodies(files, shard, plan(files, shard, given, AROUND), given)
    assert text_of(request) == (
        "7|2.5|true|2024-01-02|2024-01-02 03:04:05|2024-01-02 01:04:05+00|[1,null]|"
        '{"k":1}|{"city":"Köln \\"am\\" Rhein","geo":{"lat":50.9}}|Köln "am" Rhein|50.9'
    )
    not_finite = plan(files, shard, template("{{nan}}"), AROUND)
    assert [each.text() for each in not_finite.problems] == [
        f"{path} row 0: has no value in column 'nan', which the template names"
    ]


LINES = b'{"a": "2024-01-01T00:00:00Z", "b": {"c": 1.0}}\n\n{"a": "007", "b": {"c": "x"}, "d": [1]}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jsonl", LINES),
        ("in.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("in.ndjson", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n")),
        ("in.csv", b'a,"b.c",d\n2024-01-01T00:00:00Z,1.0,\n007,x,[1]\n'),
        ("in.csv.gz", gzip.compress(b"a;b.c;d\n2024-01-01T00:00:00Z;1.0;\n007;x;[1]\n", mtime=0)),
        ("in.tsv", b"a\tb.c\td\n2024-01-01T00:00:00Z\t1.0\t\n007\tx\t[1]\n"),
    ],
)
def test_other_formats_keep_every_value_as_it_is_written(
    name: str, content: bytes, files: ShardFiles, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    shard, given = shard_of(tmp_path / name), template("{{a}} {{b.c}}")
    found = plan(files, shard, given, AROUND)
    [requests] = bodies(files, shard, found, given)
    assert [text_of(each) for each in requests] == ["2024-01-01T00:00:00Z 1.0", "007 x"]


def test_a_part_that_would_be_sent_otherwise_is_not_sent(files: ShardFiles, tmp_path: Path) -> None:
    shard = shard_of(parquet.made_of(tmp_path / "in.parquet", "a", ["one", "two"]))
    [part] = plan(files, shard, template("{{a}}"), AROUND).parts
    drafts = Temporary()
    with (
        drafts.draft() as path,
        pytest.raises(InvalidArguments, match="rows 0 to 1 make other requests than they did when"),
    ):
        prepare(files, shard, part, template("Say {{a}}"), AROUND, path, drafts.write)
    parquet.made_of(tmp_path / "in.parquet", "a", ["one", "other"])
    with (
        drafts.draft() as path,
        pytest.raises(InvalidArguments, match=r"in\.parquet changed since the job was submitted"),
    ):
        prepare(files, shard, part, template("{{a}}"), AROUND, path, drafts.write)


# What is wrong


def test_everything_wrong_with_the_shards_is_told_at_once(files: ShardFiles, tmp_path: Path) -> None:
    good = parquet.made(
        tmp_path / "a.parquet", "SELECT i AS id, CASE WHEN i % 50 <> 3 THEN 'x' END AS body FROM range(100) t(i)"
    )
    content = good.read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "c.parquet").write_bytes(b"")
    (tmp_path / "d.parquet").write_bytes(b"id,body\n1,x\n")
    (tmp_path / "e.parquet").write_bytes(content[:-60] + b"x" * 56 + b"PAR1")
    parquet.made(tmp_path / "f.parquet", "SELECT 'one' AS id, 'x' AS body, 1 AS more")
    parquet.made(tmp_path / "g.parquet", "SELECT 1 AS id, 'x' AS bodi")
    plans = [plan(files, shard, template("{{body}}"), AROUND) for shard in shards.find(f"{tmp_path}/*.parquet")]
    assert [each.unusable for each in plans] == [False, True, True, True, True, False, True]
    told = [(each.severity, each.text().replace(f"{tmp_path}/", "")) for each in problems_of(plans)]
    assert [text for severity, text in told if severity is Severity.ERROR] == [
        "a.parquet row 3; a.parquet row 53: has no value in column 'body', which the template names",
        "b.parquet: is cut short; a Parquet file ends as it begins, with PAR1",
        "c.parquet: is empty",
        "d.parquet: is not Parquet; it begins with b'id,b', and Parquet with PAR1",
        "e.parquet: cannot be read: Footer length error in file 'e.parquet'",
        "g.parquet: template: {{body}} is not a column of the file; did you mean {{bodi}}? The columns are `id`, `bodi`.",
    ]
    assert [text for severity, text in told if severity is Severity.WARNING] == [
        (
            "f.parquet: its columns are not those of a.parquet: with more (INTEGER), id is VARCHAR in place of BIGINT; "
            "its output will differ in the same way"
        ),
        (
            "g.parquet: its columns are not those of a.parquet: without body, with bodi (VARCHAR), id is INTEGER in place of "
            "BIGINT; its output will differ in the same way"
        ),
    ]


def test_many_problems_are_counted() -> None:
    def problem(number: int, severity: Severity = Severity.ERROR) -> Problem:
        return Problem(severity, f"is wrong in way {number}", 2, [f"s3://in/{number} row 1"])

    plans = [ShardPlan(n, f"s3://in/{n}", problems=(problem(n), problem(7, Severity.WARNING))) for n in range(60)]
    found = problems_of(plans)
    assert len(found) == MOST_SHOWN
    assert sum(each.count for each in found) == 60 * 4
    assert found[-1].text() == "s3://in/49 row 1: is wrong in way 49 (and 140 other problems)"
    assert problems_of(plans[:1] * 5)[0].count == 10


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.jsonl", b'{"a": "x"}\n{"a": \n[1]\n{"b": 1}\n', ["row 1: is not JSON", "row 2: is not an object", "row 3: has no value in column 'a'"]),
        ("in.csv", b"a,b\nx,1\ny,2,3\n", ["row 1: has 3 fields, and the header 2"]),
        ("in.csv", b"b,b\nx,1\n", ["in.csv: the header names 'b' more than once"]),
        ("in.jsonl.gz", gzip.compress(b'{"a": "x"}\n' * 1_000, mtime=0)[:-9], ["in.jsonl.gz: the file cannot be read to its end"]),
        ("in.jsonl", b"%PDF-1.7", ["in.jsonl: 'in.jsonl' is a PDF"]),
    ],
)  # fmt: skip
def test_wrong_lines_are_told_by_their_rows(
    name: str, content: bytes, words: list[str], files: ShardFiles, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    found = plan(files, shard_of(tmp_path / name), template("{{a}}"), AROUND)
    told = [each.text() for each in found.problems]
    assert len(told) == len(words)
    for text, wanted in zip(sorted(told), words, strict=True):
        assert wanted in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (template("no column"), "template: names no column, so that all requests would be the same"),
        (
            template("{{address.town}}"),
            "template: {{address.town}} is not a column of the file; did you mean {{address.city}}?",
        ),
        (
            {"custom_id": "{{id}}", "params": template("{{id}}")},
            "template.custom_id: a job numbers its requests itself",
        ),
        ({"requests": []}, "template: holds requests"),
    ],
)
def test_a_template_that_cannot_be_meant(given: dict[str, Any], words: str, files: ShardFiles, tmp_path: Path) -> None:
    path = parquet.made(tmp_path / "in.parquet", "SELECT 1 AS id, {'city': 'x'} AS address")
    found = plan(files, shard_of(path), given, AROUND)
    [problem] = found.problems
    assert problem.message.startswith(words)
    assert (found.unusable, found.parts, problem.where) == (True, (), [str(path)])


def test_a_column_that_is_damaged_though_no_request_needs_it(files: ShardFiles, tmp_path: Path) -> None:
    query = "SELECT i AS id, 'text' AS body, md5(i::VARCHAR) AS more FROM range(20_000) t(i)"
    path = parquet.made(tmp_path / "in.parquet", query, group_rows=20_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2  # of the last column, which is the longest
    content[middle : middle + 5_000] = bytes(5_000)
    path.write_bytes(content)
    assert [row["body"] for row in parquet.read(path, "body")] == ["text"] * 20_000
    found = plan(files, shard_of(path), template("{{body}}"), AROUND)
    [problem] = found.problems
    assert problem.message.startswith("cannot be read: ")
    assert found.unusable


def test_a_column_that_duckdb_has_as_well(files: ShardFiles, tmp_path: Path) -> None:
    path = parquet.made(tmp_path / "in.parquet", "SELECT 1 AS file_row_number")
    [problem] = plan(files, shard_of(path), template("{{file_row_number}}"), AROUND).problems
    assert problem.message == "has a column file_row_number, which DuckDB has as well; rename it"


def test_wildcards_in_the_name_of_a_file(files: ShardFiles, tmp_path: Path) -> None:
    parquet.made_of(tmp_path / "in[1].parquet", "a", ["x"])
    parquet.made_of(tmp_path / "in1.parquet", "a", ["another", "another"])
    found = plan(files, shard_of(tmp_path / "in[1].parquet"), template("{{a}}"), AROUND)
    assert (found.rows, found.problems) == (1, ())


def test_no_rows_make_no_parts(files: ShardFiles, tmp_path: Path) -> None:
    found = plan(files, shard_of(parquet.made_of(tmp_path / "in.parquet", "a", [])), template("{{a}}"), AROUND)
    assert (found.rows, found.parts, found.problems) == (0, (), ())


# The disk of a worker


def test_shards_are_fetched_once_and_removed_for_others(tmp_path: Path) -> None:
    now_s = [10_000_000_000.0]
    files = ShardFiles(tmp_path / "shards", most_bytes=1, now_s=lambda: now_s[0])
    files.folder.mkdir()
    for name in ("a.csv", "b[1].csv"):
        (tmp_path / name).write_text("a\nx\n")
    first, second = shards.find(f"{tmp_path}/*.csv")
    plan(files, first, template("{{a}}"), AROUND)
    [copy] = files.folder.iterdir()
    before = copy.stat().st_ino
    plan(files, first, template("{{a}}"), AROUND)
    assert [each.stat().st_ino for each in files.folder.iterdir()] == [before]
    plan(files, second, template("{{a}}"), AROUND)
    assert [each != copy for each in files.folder.iterdir()] == [True]
