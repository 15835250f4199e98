"""What a create says of requests and files that cannot be meant: each cause once, in words that say what to do."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CREATE, REQUEST, error_of, server_for, text_of

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


def named(custom_id: str, **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": {**REQUEST["params"], **params}}  # type: ignore[dict-item]


def lines(*requests: dict[str, Any]) -> str:
    return "".join(json.dumps(request) + "\n" for request in requests)


def template(content: Any = "Summarise: {{body}}", **changes: Any) -> dict[str, Any]:
    made = {**REQUEST["params"], "messages": [{"role": "user", "content": content}], **changes}  # type: ignore[dict-item]
    return {name: value for name, value in made.items() if value is not ...}


async def dry_run(root: Path, **arguments: Any) -> Any:
    """The report of a dry run, or the text of the error that it ended with."""
    async with Client(server_for(NOWHERE, roots=[root])) as client:
        result = await client.call_tool(CREATE, {**arguments, "dry_run": True})
    return text_of(result) if result.is_error else result.structured_content["batches_mcp"]["dry_run"]


async def refused(root: Path, **arguments: Any) -> str:
    """The message with which a create is refused; nothing was sent."""
    with scripted_upstream(answer(200, {})) as upstream:
        async with Client(server_for(upstream.url, roots=[root])) as client:
            result = await client.call_tool(CREATE, arguments)
        assert upstream.received == []
    assert result.is_error
    message: str = error_of(result)["message"]
    return message


async def test_a_wrong_name_in_every_row_is_one_problem_and_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import difflib

    matched = []
    ratio = difflib.SequenceMatcher.quick_ratio

    def counted(matcher: difflib.SequenceMatcher[str]) -> float:
        matched.append(1)
        return ratio(matcher)

    monkeypatch.setattr(difflib.SequenceMatcher, "quick_ratio", counted)
    wrong = [named(f"r{number}", model="claude-haiku-5.5") for number in range(500)]
    (tmp_path / "in.jsonl").write_text(lines(*wrong, named("b b"), *wrong[:1], named("last", max_tokens=0)))
    report = await dry_run(tmp_path, requests_file="in.jsonl")
    model, custom_id, duplicate, max_tokens = sorted(report["problems"], key=lambda each: -each["count"])
    assert model["message"].startswith("'claude-haiku-5.5' is not known here; did you mean `claude-haiku-5-5`?")
    assert (model["severity"], model["count"]) == ("warning", 501)
    assert model["where"] == [f"line {number}, params.model" for number in (1, 2, 3)]
    assert custom_id["where"] == ["line 501, custom_id"]
    assert (duplicate["count"], duplicate["where"]) == (1, ["line 502, custom_id"])
    assert max_tokens["where"] == ["line 503, params.max_tokens"]
    assert (report["errors"], report["warnings"]) == (3, 501)
    assert len(matched) < 100


async def test_rare_problems_are_listed_behind_common_ones(tmp_path: Path) -> None:
    common = [named(f"bad id {number}", max_tokens=-number) for number in range(60)]
    models = [named(f"m{number}", model=f"model-{number}") for number in range(60)]
    (tmp_path / "in.jsonl").write_text(lines(*common, *models, named("x", messages=[])) + "{\n")
    report = await dry_run(tmp_path, requests_file="in.jsonl")
    assert len(report["problems"]) <= 50
    assert sum(each["count"] for each in report["problems"]) == report["errors"] + report["warnings"] == 182
    places = [each["where"][0] for each in report["problems"]]
    assert {"line 121, params.messages", "line 122"} <= set(places)
    text = await refused(tmp_path, requests_file="in.jsonl")
    assert "- line 122: is not JSON" in text
    assert "- line 1, custom_id; line 2, custom_id; line 3, custom_id and 57 more: 'bad id 0' has ' '" in text


async def test_what_every_row_has_from_the_template_is_said_of_the_template(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("body,custom_id\n" + "".join(f"text,r{number}\n" for number in range(70)))
    wrong = template(max_tokens=..., temprature=0.5, model="claude-haiku-5.5", stream=True)
    report = await dry_run(tmp_path, rows_file="rows.csv", template=wrong)
    found = {each["where"][0]: each for each in report["problems"]}
    assert found.keys() == {"template.max_tokens", "template.temprature", "template.stream", "template.model"}
    assert found["template.temprature"]["message"].endswith("did you mean `temperature`?")
    assert all((each["count"], len(each["where"])) == (70, 1) for each in report["problems"])
    text = await refused(tmp_path, rows_file="rows.csv", template=wrong)
    assert "- template.max_tokens: missing" in text
    assert len(text.splitlines()) == 4  # one for each error, below what they come to
    assert "line" not in text
    report = await dry_run(tmp_path, rows_file="rows.csv", template=template(model="claude-haiku-5.5"))
    assert [each["where"] for each in report["problems"]] == [["template.model"]]
    whole = {"custom_id": "{{custom_id}}", "params": template(max_tokens=0)}
    report = await dry_run(tmp_path, rows_file="rows.csv", template=whole)
    assert [each["where"] for each in report["problems"]] == [["template.params.max_tokens"]]


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    return file.getvalue()


CSV = "subject,body\nA,B\nC,D\n"
OPENAI = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-9"}}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", CSV.encode(), "'rows.csv' is CSV, with the columns subject, body, and its rows are not requests"),
        ("rows.txt", CSV.replace(",", ";").encode(), "'rows.txt' is CSV, with the columns subject, body"),
        ("rows.dat", CSV.encode("utf-16"), "'rows.dat' is CSV, with the columns subject, body"),
        ("rows.xlsx", zipped("xl/workbook.xml"), "'rows.xlsx' is an Excel workbook; save the sheet as CSV (UTF-8)"),
        ("rows.jsonl", zipped("a.jsonl"), "'rows.jsonl' is a zip archive; name the file that is in it"),
        ("a.parquet", b"PAR1\x00\x01", "'a.parquet' is a Parquet file"),
        ("a.bin", b"\x00\x00\x01\x00" * 9, "'a.bin' is not text"),
        ("a.jsonl", lines(named("a")).encode("utf-16-le"), "'a.jsonl' is UTF-16 without a byte order mark; save it as UTF-8"),
        ("in.jsonl", lines(OPENAI, OPENAI).encode(), "'in.jsonl' is in the format of OpenAI's batches"),
        ("in.json", json.dumps([OPENAI]).encode(), "'in.json' is in the format of OpenAI's batches"),
        ("in.json", json.dumps(named("a"), indent=1).encode(), "'in.json' is JSON over several lines"),
    ],
)  # fmt: skip
async def test_a_file_of_the_wrong_kind_is_one_sentence(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    text = await refused(tmp_path, requests_file=name)
    assert text.startswith(f"requests_file: {words}")
    assert "\n" not in text


async def test_rows_are_read_however_they_are_separated_and_encoded(tmp_path: Path) -> None:
    for name, content in {
        "a.csv": b"subject;body\nA;B, b\n",
        "b.csv": b"subject\tbody\nA\tB, b\n",
        "c.csv": '\ufeff"subject";"body"\r\n"A";"B, b"\r\n'.encode(),
        "d.txt": b'subject,body\nA,"B, b"\n',
        "e.csv": 'subject,body\nÄ,"B, b"\n'.encode("utf-16"),
        "f.tsv": "subject\tbody\nA\tB, b\n".encode("utf-16"),
        "g.jsonl": json.dumps({"subject": "Ä", "body": "B, b"}, ensure_ascii=False).encode("utf-16"),
    }.items():
        (tmp_path / name).write_bytes(content)
        with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
            async with Client(server_for(upstream.url, roots=[tmp_path], state=tmp_path / f"of-{name}")) as client:
                result = await client.call_tool(CREATE, {"rows_file": name, "template": template()})
            assert not result.is_error, (name, text_of(result))
            [sent] = json.loads(upstream.received[-1].body)["requests"]
        assert sent["params"]["messages"][0]["content"] == "Summarise: B, b", name


async def test_text_that_is_not_utf_8_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("body\nplain\nGröße\nStraße\n".encode("latin-1"))
    [problem] = (await dry_run(tmp_path, rows_file="rows.csv", template=template()))["problems"]
    assert (problem["count"], problem["where"]) == (2, ["line 3", "line 4"])
    assert problem["message"] == "is not UTF-8 but perhaps Latin-1 or Windows-1252; save the file as UTF-8"
    (tmp_path / "in.jsonl").write_bytes(json.dumps(named("a", system="ß"), ensure_ascii=False).encode("latin-1"))
    [again] = (await dry_run(tmp_path, requests_file="in.jsonl"))["problems"]
    assert again["message"] == problem["message"]
    (tmp_path / "head.csv").write_bytes("Größe\n1\n".encode("latin-1"))
    assert "head.csv' is not UTF-8 but" in await dry_run(tmp_path, rows_file="head.csv", template=template())


async def test_a_folder_and_a_wrong_name_are_answered_with_the_files_there_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(12):
        (tmp_path / "data" / f"part-{number:02}.jsonl").write_text("")
    (tmp_path / "data" / ".secret").write_text("")
    (tmp_path / "tickets.csv").write_text(CSV)
    text = await refused(tmp_path, requests_file="data")
    names = ", ".join(f"'data/part-{number:02}.jsonl'" for number in range(10))
    assert f"requests_file: 'data' is a folder, and one file is needed: {names} or one of 2 more." in text
    text = await refused(tmp_path, rows_file="ticket.csv", template=template())
    assert f"rows_file: 'ticket.csv' is not a file in {tmp_path}, where this server may read; did you mean" in text
    assert "did you mean 'tickets.csv'?" in text
    assert "did you mean 'data/part-03.jsonl'" in await refused(tmp_path, requests_file="data/part-3.jsonl")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (template("Summarise this"), "template: names no column, so that all requests would be the same; put the row's"),
        (template("Summarise this"), "values in, for example {{subject}}; the columns are `subject`, `body`"),
        (template("Summarise {body}"), "template: {body} is not filled in; did you mean {{body}}?"),
        (template("Summarise {{bdy}}"), "template: {{bdy}} is not a column of the file; did you mean {{body}}?"),
        ({"requests": [named("a")]}, "template: holds requests; it is the params of one request"),
        (OPENAI, "template: is in the format of OpenAI's batches"),
        ({"custom_id": "fixed", "params": template()}, "template.custom_id: names no column"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_a_template_that_cannot_be_meant_is_refused(
    kind: str, given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    (tmp_path / "rows.jsonl").write_text('{"subject": "A", "body": "B"}\n' * 3)
    assert words in await refused(tmp_path, rows_file=f"rows.{kind}", template=given)


async def test_a_template_may_be_a_whole_request(tmp_path: Path) -> None:
    whole = {"custom_id": "t-{{ticket_id}}", "params": template()}
    (tmp_path / "rows.csv").write_text("ticket_id,body\n1,A\n2,B\n")
    (tmp_path / "rows.jsonl").write_text('{"ticket_id": 1, "body": "A"}\n{"ticket_id": 2, "body": "B"}\n')
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url, roots=[tmp_path])) as client:
            for name in ("rows.csv", "rows.jsonl"):
                arguments = {"rows_file": name, "template": whole, "allow_duplicate": True}
                assert not (await client.call_tool(CREATE, arguments)).is_error
        for request in upstream.received:
            if request.method == "POST":
                assert [each["custom_id"] for each in json.loads(request.body)["requests"]] == ["t-1", "t-2"]
    (tmp_path / "rows.csv").write_text("ticket_id,body\n1,A\n1,B\na b,C\n" + "x" * 70 + ",D\n")
    text = await refused(tmp_path, rows_file="rows.csv", template=whole)
    for line in (
        "- line 3, custom_id: 't-1' is the custom_id of line 2 as well",
        "- line 4, custom_id: 't-a b' has ' '",
        "- line 5, custom_id: has 72 characters; expected 1 to 64",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("params", "where", "message"),
    [
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content", "is empty"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "is null"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "is empty"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "messages[0].content[0].text",
         "is empty"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", "'bot' is not a role"),
        ({"temprature": 0.5}, "temprature", "is not a key of a Messages request; did you mean `temperature`?"),
        ({"prompt": "Hi"}, "prompt", "belongs to the old Text Completions API"),
        ({"betas": ["x"]}, "betas", "is an argument of the create"),
    ],
)  # fmt: skip
async def test_a_request_that_cannot_be_meant_is_an_error(
    params: dict[str, Any], where: str, message: str, tmp_path: Path
) -> None:
    [problem] = (await dry_run(tmp_path, requests=[named("a", **params)]))["problems"]
    assert (problem["severity"], problem["count"]) == ("error", 1)
    assert problem["where"] == [f"requests[0].params.{where}"]
    assert message in problem["message"]


async def test_unknown_keys_are_warnings_where_betas_are_given(tmp_path: Path) -> None:
    requests = [named("a", brand_new={"x": 1})]
    [problem] = (await dry_run(tmp_path, requests=requests))["problems"]
    assert problem["severity"] == "error"
    [problem] = (await dry_run(tmp_path, requests=requests, betas=["brand-new-2026-11-01"]))["problems"]
    assert problem["severity"] == "warning"
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url)) as client:
            result = await client.call_tool(CREATE, {"requests": requests, "betas": ["brand-new-2026-11-01"]})
        assert not result.is_error
        assert json.loads(upstream.received[-1].body) == {"requests": requests}


async def test_requests_in_the_format_of_openai_are_named_in_arguments_too(tmp_path: Path) -> None:
    [problem] = (await dry_run(tmp_path, requests=[OPENAI, OPENAI | {"custom_id": "b"}]))["problems"]
    assert problem["count"] == 2
    assert problem["message"].startswith("is in the format of OpenAI's batches")


async def test_an_unknown_model_says_which_are_known_the_cheapest_first(tmp_path: Path) -> None:
    [problem] = (await dry_run(tmp_path, requests=[named("a", model="gpt-4o")]))["problems"]
    assert problem["message"].startswith(
        "'gpt-4o' is not known here; known are, the cheapest first, claude-haiku-5-5, "
    )
    known = problem["message"].partition("first, ")[2].split(", ")
    assert known.index("claude-sonnet-5-5") < known.index("claude-opus-5-5") < known.index("claude-fable-5")
