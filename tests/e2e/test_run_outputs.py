"""What `batches-mcp run` takes from earlier jobs instead of paying again, and the files it writes."""

from __future__ import annotations

import csv
import io
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.jobs import Shell, ids, request

ROWS = 20
_RUN = ("--state-dir", "state", "--report", "report.json")


@pytest.fixture
def shell(quick: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=100)


def report(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shell.folder / "report.json").read_text())
    return found


def rows(shell: Shell, name: str) -> dict[str, dict[str, Any]]:
    lines = (shell.folder / name).read_bytes().splitlines()
    return {row["custom_id"]: row["result"] for row in map(json.loads, lines)}


def delete(shell: Shell, batch_id: str) -> None:
    """Delete a batch as another program would."""
    headers = {"x-api-key": shell.key, "anthropic-version": "2023-06-01"}
    httpx2.delete(f"{shell.sandbox.url}/v1/messages/batches/{batch_id}", headers=headers).raise_for_status()


def forget_results(shell: Shell) -> None:
    """Remove the copies of results, as if they had to make room."""
    [spool] = (shell.folder / "state").glob("*/spool")
    for path in spool.iterdir():
        path.unlink()


# Rows that were answered before


def test_a_row_that_changed_is_sent_alone(shell: Shell) -> None:
    texts = [f"question {number}" for number in range(ROWS)]
    shell.write("in.jsonl", texts)
    first = shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN)
    assert (first.code, report(shell)["known"]) == (0, 0), first.err
    texts[7] = "another question"
    # In another order of keys and under other ids, the rows are the same.
    renamed = [request(f"new-{number}", text) for number, text in enumerate(texts)]
    shuffled = [{"params": dict(reversed(each["params"].items())), "custom_id": each["custom_id"]} for each in renamed]
    (shell.folder / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in shuffled))
    second = shell.run("run", "in.jsonl", "-o", "two.jsonl", *_RUN)
    assert second.code == 0, second.err
    assert "19 rows answered before, taken from there\n1 request for claude-haiku-5-5 in 1 batch.\n" in second.err
    assert "rows        20: 20 succeeded\n" in second.err
    assert [batch["request_counts"]["succeeded"] for batch in shell.batches()] == [ROWS, 1]
    found = report(shell)
    assert (found["known"], found["rows"], found["estimate"]["requests"]) == (ROWS - 1, ROWS, 1)
    assert ids(shell.folder / "two.jsonl") == [f"new-{number}" for number in range(ROWS)]
    before, after = rows(shell, "one.jsonl"), rows(shell, "two.jsonl")
    changed = {number for number in range(ROWS) if before[f"row-{number}"] != after[f"new-{number}"]}
    assert changed == {7}
    # Only what was sent is paid.
    assert found["usage"]["output_tokens"] == after["new-7"]["message"]["usage"]["output_tokens"]


def test_rows_that_are_all_known_cost_nothing(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "good morning"])
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    shell.write("turned.jsonl", ["good morning", "hello"])
    again = shell.run("run", "turned.jsonl", "-o", "two.jsonl", *_RUN)
    assert (again.code, shell.creates) == (0, 1), again.err
    assert "2 rows answered before, taken from there; nothing is to be sent\n" in again.err
    found = report(shell)
    assert (found["known"], found["rows"], found["usage"]["cost_usd"], found["batches"]) == (2, 2, 0, [])
    before, after = rows(shell, "one.jsonl"), rows(shell, "two.jsonl")
    assert [after["row-0"], after["row-1"]] == [before["row-1"], before["row-0"]]
    # The same command once more has the same to say.
    assert shell.run("run", "turned.jsonl", "-o", "two.jsonl", *_RUN).code == 0
    assert (shell.creates, report(shell)["known"]) == (1, 2)


def test_fresh_sends_known_rows_as_well(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "good morning"])
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    shell.write("turned.jsonl", ["good morning", "hello"])
    assert shell.run("run", "turned.jsonl", "-o", "two.jsonl", *_RUN).code == 0
    fresh = shell.run("run", "turned.jsonl", "-o", "two.jsonl", *_RUN, "--fresh")
    assert (fresh.code, shell.creates, report(shell)["known"]) == (0, 2, 0), fresh.err


def test_rows_that_failed_are_sent_again_by_another_job(shell: Shell) -> None:
    bad = request("bad", "hello") | {"params": {**request("", "hello")["params"], "model": "claude-haiku-9"}}
    lines = [request("good", "hello"), bad]
    (shell.folder / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", "--yes", *_RUN).code == 1
    (shell.folder / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in reversed(lines)))
    second = shell.run("run", "in.jsonl", "-o", "two.jsonl", "--yes", *_RUN)
    assert (second.code, shell.creates, report(shell)["known"]) == (1, 2, 1), second.err
    assert shell.batches()[1]["request_counts"]["errored"] == 1


def test_the_same_question_asked_several_times_has_as_many_answers(shell: Shell) -> None:
    shell.write("in.jsonl", ["roll a die"] * 3)
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    shell.write("in.jsonl", ["roll a die"] * 5)
    second = shell.run("run", "in.jsonl", "-o", "two.jsonl", *_RUN)
    assert (second.code, report(shell)["known"]) == (0, 3), second.err
    assert shell.batches()[1]["request_counts"]["succeeded"] == 2
    before, after = rows(shell, "one.jsonl"), rows(shell, "two.jsonl")
    assert [after[f"row-{number}"] for number in range(3)] == [before[f"row-{number}"] for number in range(3)]


def test_results_that_had_to_make_room_are_fetched_again(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "good morning"])
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    forget_results(shell)
    shell.write("in.jsonl", ["hello", "good evening"])
    second = shell.run("run", "in.jsonl", "-o", "two.jsonl", *_RUN)
    assert (second.code, report(shell)["known"]) == (0, 1), second.err
    assert rows(shell, "two.jsonl")["row-0"] == rows(shell, "one.jsonl")["row-0"]


@pytest.mark.parametrize("how", ["deleted", "archived"])
def test_answers_that_are_gone_are_asked_for_again(how: str, shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "good morning"])
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    forget_results(shell)
    [batch] = shell.batches()
    if how == "deleted":
        delete(shell, batch["id"])
    else:
        shell.sandbox.archive(batch["id"])
    shell.write("in.jsonl", ["hello", "good evening"])
    second = shell.run("run", "in.jsonl", "-o", "two.jsonl", *_RUN)
    assert (second.code, report(shell)["known"], shell.creates) == (0, 0, 2), second.err
    assert len(rows(shell, "two.jsonl")) == 2


def test_another_account_knows_nothing(shell: Shell, tmp_path: Path) -> None:
    shell.write("in.jsonl", ["hello"])
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    other = Shell(tmp_path, shell.sandbox, f"sk-ant-{uuid.uuid4().hex}")
    other.write("in.jsonl", ["hello"])
    assert other.run("run", "in.jsonl", "-o", "two.jsonl", *_RUN).code == 0
    assert (other.creates, report(other)["known"]) == (1, 0)


# OUT as a table


RESULT_COLUMNS = [
    "custom_id", "outcome", "answer", "error_type", "error_message", "stop_reason", "input_tokens", "output_tokens",
]  # fmt: skip
TEMPLATE = {
    "model": "{{model}}",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Say it back: {{text}}"}],
}
HAIKU = "claude-haiku-5-5"


def table(shell: Shell, name: str) -> list[list[str]]:
    content = (shell.folder / name).read_bytes()
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def write_rows(shell: Shell, name: str, rows: list[list[str]]) -> None:
    (shell.folder / "template.json").write_text(json.dumps(TEMPLATE))
    with (shell.folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def test_a_table_has_the_columns_of_the_input_first(shell: Shell) -> None:
    header = ["Ticket No", "model", "text", "grüße", "answer"]
    rows = [
        ["7", HAIKU, "hello", "=1+1", "old"],
        ["3", HAIKU, 'good, "morning"\nyou', "-2.5", ""],
        ["5", HAIKU, "hello", "ä", "x"],
    ]
    write_rows(shell, "in.csv", [header, *rows])
    done = shell.run("run", "in.csv", "--template", "template.json", "-o", "out.csv", *_RUN)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert (shell.folder / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    names, *found = table(shell, "out.csv")
    # A column of the input keeps its name; ours of the same name gets another.
    assert names == [*header, "custom_id", "outcome", "answer_2", *RESULT_COLUMNS[3:]]
    assert [row[:5] for row in found] == [["7", HAIKU, "hello", "'=1+1", "old"], *rows[1:]]
    assert [row[6] for row in found] == ["succeeded"] * 3
    assert all(row[7] for row in found)


def test_a_table_of_rows_from_standard_input_with_ids_of_their_own(shell: Shell) -> None:
    (shell.folder / "template.json").write_text(json.dumps(TEMPLATE))
    lines = [
        {"custom_id": "a", "model": HAIKU, "text": "hello", "tags": ["x", 1]},
        {"custom_id": "b", "model": HAIKU, "text": "hi", "later": None},
    ]
    given = "".join(json.dumps(line) + "\n" for line in lines).encode()
    done = shell.run("run", "-", "--template", "template.json", "-o", "out.csv", *_RUN, stdin=given)
    assert done.code == 0, done.err
    names, *found = table(shell, "out.csv")
    assert names == ["custom_id", "model", "text", "tags", "later", *RESULT_COLUMNS[1:]]
    assert [row[:5] for row in found] == [["a", HAIKU, "hello", '["x",1]', ""], ["b", HAIKU, "hi", "", ""]]


def test_a_table_of_whole_requests(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"])
    assert shell.run("run", "in.jsonl", "-o", "out.csv", *_RUN).code == 0
    names, row = table(shell, "out.csv")
    assert names == RESULT_COLUMNS
    assert row[:2] == ["row-0", "succeeded"]


def test_an_input_that_changes_while_its_batch_is_in_progress(shell: Shell, held: Sandbox) -> None:
    shell = replace(shell, sandbox=held)
    rows = [["ann", "a", HAIKU, "hello"], ["bob", "no id", HAIKU, "hello"], ["eve", "e", HAIKU, "hello"]]
    write_rows(shell, "in.csv", [["name", "custom_id", "model", "text"], *rows])
    command = ("run", "in.csv", "--template", "template.json", "-o", "out.csv", "--skip-invalid", *_RUN)
    with shell.running(*command) as process:
        shell.until(1, "created")
        (shell.folder / "in.csv").write_text("nothing,of,it\n")
        held.end(shell.batches()[0]["id"])
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    names, *found = table(shell, "out.csv")
    assert names == ["name", "custom_id", "model", "text", *RESULT_COLUMNS[1:]]
    assert [row[:5] for row in found] == [[*rows[0], "succeeded"], [*rows[2], "succeeded"]]


# The rows that failed


def test_rows_that_failed_are_written_ready_to_be_corrected(shell: Shell) -> None:
    rows = [["ann", HAIKU, "hello"], ["bob", "claude-haiku-9", "=hi"], ["eve", "claude-haiku-9", "ho"]]
    write_rows(shell, "in.csv", [["name", "model", "text"], *rows])
    command = ("run", "in.csv", "--template", "template.json", "-o", "out.csv", "--yes", *_RUN)
    done = shell.run(*command, "--failures", "failed.csv")
    assert done.code == 1, done.err
    header, *failed = table(shell, "failed.csv")
    assert header == ["name", "model", "text", "error_type", "error_message"]
    assert [row[:4] for row in failed] == [[*row, "not_found_error"] for row in rows[1:]]
    assert "2 failed rows are in failed.csv" in done.err
    # Corrected, they are an input.
    corrected = [[name, HAIKU, *more] for name, _, *more in failed]
    write_rows(shell, "failed.csv", [header, *corrected])
    again = shell.run(
        "run", "failed.csv", "--template", "template.json", "-o", "out2.csv", *_RUN, "--failures", "still.csv"
    )
    assert again.code == 0, again.err
    assert [row[0] for row in table(shell, "out2.csv")[1:]] == ["bob", "eve"]
    assert table(shell, "still.csv") == [header]


def test_rows_that_were_left_out_are_written_with_what_is_wrong(shell: Shell) -> None:
    rows = [
        ["no id", "a b", HAIKU, "hello"],
        ["good", "a", HAIKU, "hello"],
        ["unknown", "b", "claude-haiku-9", "hello"],
        ["again", "a", HAIKU, "hello"],
        ["fine", "c", HAIKU, "hello"],
        ["empty", "d", HAIKU, ""],
    ]
    write_rows(shell, "in.csv", [["name", "custom_id", "model", "text"], *rows])
    (shell.folder / "bare.json").write_text(
        json.dumps(TEMPLATE | {"messages": [{"role": "user", "content": "{{text}}"}]})
    )
    command = ("run", "in.csv", "--template", "bare.json", "-o", "out.csv", "--skip-invalid", "--yes", *_RUN)
    # Also when the job is resumed, or what it wrote is written again.
    for _ in range(2):
        done = shell.run(*command, "--failures", "failed.csv")
        assert done.code == 1, done.err
        assert "4 failed rows are in failed.csv" in done.err
        assert report(shell)["failures"]["rows"] == 4
        header, *failed = table(shell, "failed.csv")
        assert header == ["name", "custom_id", "model", "text", "error_type", "error_message"]
        assert [row[:4] for row in failed] == [rows[0], rows[2], rows[3], rows[5]]
        assert [row[4] for row in failed] == ["left_out", "not_found_error", "left_out", "left_out"]
        assert failed[0][5] == "line 2, custom_id: 'a b' has ' '; allowed are letters, digits, - and _"
        assert "line 5, custom_id: 'a' is the custom_id of line 3 as well" in failed[2][5]
        assert failed[3][5].startswith("line 7, params.messages[0].content: ")
    assert shell.creates == 1


def test_requests_that_were_left_out_are_written_as_they_were(shell: Shell) -> None:
    lines = [
        json.dumps(request("good", "hi")),
        json.dumps(request("a b", "hi")),
        "{nonsense",
        json.dumps({"params": {}}),
    ]
    (shell.folder / "in.jsonl").write_text("\n".join(lines))
    command = ("run", "in.jsonl", "-o", "out.jsonl", "--skip-invalid", "--failures", "failed.jsonl", *_RUN)
    done = shell.run(*command)
    assert done.code == 0, done.err
    assert (shell.folder / "failed.jsonl").read_text().splitlines() == lines[1:]


def test_requests_that_failed_are_written_as_they_were(shell: Shell) -> None:
    bad = request("bad", "hello") | {"params": {**request("", "hello")["params"], "model": "claude-haiku-9"}}
    lines = [json.dumps(request("good", "hi")), json.dumps(bad), json.dumps(bad | {"custom_id": "worse"})]
    (shell.folder / "in.jsonl").write_text("\n".join(lines))
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--yes", "--failures", "failed.jsonl", *_RUN)
    assert done.code == 1, done.err
    assert (shell.folder / "failed.jsonl").read_text().splitlines() == lines[1:]
    again = shell.run("run", "failed.jsonl", "-o", "out2.jsonl", "--yes", *_RUN)
    assert (again.code, ids(shell.folder / "out2.jsonl")) == (1, ["bad", "worse"]), again.err


@pytest.mark.parametrize(
    ("failures", "says"),
    [
        ("in.csv", "--failures: in.csv is FILE itself"),
        ("out.csv", "--failures: out.csv is OUT itself"),
        ("missing/failed.csv", "--failures: missing is not a folder that can be written to"),
    ],
)
def test_a_place_that_cannot_take_the_failures(failures: str, says: str, shell: Shell) -> None:
    write_rows(shell, "in.csv", [["model", "text"], [HAIKU, "hello"]])
    done = shell.run("run", "in.csv", "--template", "template.json", "-o", "out.csv", "--failures", failures, *_RUN)
    assert done.code == 2
    assert says in done.err
    assert shell.creates == 0


def test_requests_do_not_go_into_a_table(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"])
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--failures", "failed.csv", *_RUN)
    assert (done.code, shell.creates) == (2, 0)
    assert "--failures: failed.csv: FILE holds requests, which do not go into a table; name it failed.jsonl" in done.err


# The account


def test_the_account_tells_causes_the_largest_first(shell: Shell) -> None:
    texts = [
        "[[sandbox:errored overloaded_error]]",
        *["[[sandbox:max_tokens]]"] * 4,
        "[[sandbox:refusal]]",
        *["[[sandbox:errored invalid_request_error]]"] * 2,
        "[[sandbox:expired]]",
        "hello",
    ]
    shell.write("in.jsonl", texts)
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "0", *_RUN)
    assert done.code == 1
    [invalid, *_] = report(shell)["causes"]
    assert (invalid["type"], invalid["rows"], invalid["custom_id"]) == ("invalid_request_error", 2, "row-6")
    named = f"2 invalid_request_error ({invalid['message']}), 1 overloaded_error, 1 expired"
    assert f"\nfailed        4 rows: {named}\n" in done.err
    assert "\nto correct    2 rows (row-6, row-7)\n" in done.err
    assert "\nnot finished  4 answers were cut at max_tokens, 1 was refused\n" in done.err
    assert report(shell)["stopped_early"] == {"max_tokens": 4, "refusal": 1}


# What is sent again


def test_rows_that_failed_for_want_of_credit_are_sent_again_on_request(shell: Shell) -> None:
    texts = ["hello", *["[[sandbox:credit]]"] * 3, "[[sandbox:errored overloaded_error]]"]
    shell.write("in.jsonl", texts)
    first = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "1", *_RUN)
    assert first.code == 1
    assert (
        "3 rows failed because credit had run out: add credit, then give the same command with --retry-types billing.\n"
        in first.err
    )
    assert [batch["rows"] for batch in report(shell)["batches"]] == [5, 1]
    # The rows are those of the first batch, although another came after it.
    second = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "1", "--retry-types", "billing", *_RUN)
    assert second.code == 1
    batches = report(shell)["batches"]
    assert [batch["rows"] for batch in batches] == [5, 1, 3]
    assert batches[2]["parent"] == batches[0]["batch_id"]
    assert ids(shell.folder / "out.jsonl") == [f"row-{number}" for number in range(5)]
    assert {name: each["type"] for name, each in rows(shell, "out.jsonl").items()} == {
        "row-0": "succeeded", **{f"row-{number}": "errored" for number in range(1, 5)},
    }  # fmt: skip
    # Without the flag, what is known of them is told, and only what passes is sent again.
    third = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "3", *_RUN)
    assert third.code == 1
    assert [batch["rows"] for batch in report(shell)["batches"]] == [5, 1, 3, 1]


def test_refused_answers_are_asked_for_again_on_request(shell: Shell) -> None:
    shell.write("in.jsonl", ["[[sandbox:refusal]]", "hello"])
    assert shell.run("run", "in.jsonl", "-o", "one.jsonl", *_RUN).code == 0
    shell.write("in.jsonl", ["hello", "[[sandbox:refusal]]"])
    command = ("run", "in.jsonl", "-o", "two.jsonl", "--retry-types", "refused", "--retries", "0", *_RUN)
    assert shell.run(*command).code == 0
    assert (report(shell)["known"], shell.creates) == (1, 2)


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ("truncated", "--retry-types truncated: the same max_tokens would cut the answers again"),
        ("biling", "--retry-types: 'biling' is not a type; did you mean `billing`?"),
    ],
)
def test_types_that_cannot_be_sent_again(types: str, says: str, shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"])
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retry-types", types, *_RUN)
    assert (done.code, shell.creates) == (2, 0)
    assert says in done.err
