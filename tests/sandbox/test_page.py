"""The status page: what it shows, that foreign text stays text, and that nothing but its own script may run."""

import base64
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import FAULTS, ManualClock, Sandbox, running_sandbox

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": "sk-page", "anthropic-version": "2026-10-21"}


@pytest.fixture
def sandbox(clock: ManualClock) -> Iterator[Sandbox]:
    with running_sandbox(clock=clock) as sandbox:
        yield sandbox


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def buttons(self) -> set[str | None]:
        return {
            attributes["data-path"] for tag, attributes in self.tags if tag == "button" and "data-path" in attributes
        }


def test_it_shows_what_there_is(sandbox: Sandbox, ask: Ask, clock: ManualClock) -> None:
    empty = Page(httpx2.get(sandbox.url).text)
    assert "None yet." in empty.text
    with httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http:
        running = [ask(f"r{number}") for number in range(1_234)]
        ids = [http.post(PATH, json={"requests": requests}).json()["id"] for requests in ([ask()], running)]
        sandbox.end(ids[0])
        sandbox.faults.add("rate_limit", on="list", count=3, retry_after=7)
    page = Page(httpx2.get(sandbox.url).text)
    for shown in (*ids, "1,234", "in progress", "ended", "rate_limit", "retry_after 7", "3 ×", "created", PATH):
        assert shown in page.text
    assert clock.now().strftime("%H:%M:%S") in page.text
    assert {f"batches/{ids[0]}/archive", f"batches/{ids[1]}/end", f"batches/{ids[1]}/expire"} <= page.buttons
    assert {"clock/advance", "clock/unfreeze", "faults"} <= page.buttons
    sandbox.archive(ids[0])
    assert "ended, archived" in Page(httpx2.get(sandbox.url).text).text


def test_an_empty_sandbox_says_how_to_begin(sandbox: Sandbox) -> None:
    """The command makes a batch, as it stands."""
    html = httpx2.get(sandbox.url).text
    (command,) = re.findall(r"<pre>(.*?)</pre>", html, re.DOTALL)
    words = shlex.split(unescape(command))
    assert words[:2] == ["curl", sandbox.url + PATH]
    headers = dict(words[place + 1].split(": ", 1) for place, word in enumerate(words) if word == "-H")
    made = httpx2.post(words[1], headers=headers, content=words[words.index("-d") + 1])
    assert made.status_code == 200
    assert made.json()["id"] in httpx2.get(sandbox.url).text


def test_failures_are_marked_and_batches_open(sandbox: Sandbox, ask: Ask) -> None:
    with httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http:
        requests = [ask("good"), ask("bad", max_tokens=0), ask("late", "[[sandbox:expired]]")]
        batch_id = http.post(PATH, json={"requests": requests}).json()["id"]
    opened = f"{sandbox.url}/_sandbox/batches/{batch_id}"
    before = httpx2.get(opened).json()
    assert [(row["params"], row["result"]) for row in before["requests"]] == [(row["params"], None) for row in requests]
    sandbox.end(batch_id)
    html = httpx2.get(sandbox.url).text
    assert html.count('<span class="failed">1</span>') == 2
    assert f'data-open="{batch_id}"' in html
    after = httpx2.get(opened).json()
    assert (after["id"], after["processing_status"]) == (batch_id, "ended")
    types = [(row["custom_id"], row["result"]["type"]) for row in after["requests"]]
    assert types == [("good", "succeeded"), ("bad", "errored"), ("late", "expired")]
    with httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http:
        rows = [json.loads(line) for line in http.get(f"{PATH}/{batch_id}/results").text.splitlines()]
    assert {row["custom_id"]: row["result"] for row in rows} == {
        row["custom_id"]: row["result"] for row in after["requests"]
    }
    sandbox.archive(batch_id)
    assert {row["result"] for row in httpx2.get(opened).json()["requests"]} == {None}
    assert httpx2.get(f"{sandbox.url}/_sandbox/batches/msgbatch_0").status_code == 404


def test_every_option_of_a_fault_can_be_given(sandbox: Sandbox) -> None:
    page = Page(httpx2.get(sandbox.url).text)
    inputs = {attributes["name"] for tag, attributes in page.tags if tag == "input"}
    offered = {str(attributes.get("data-options", "")) for tag, attributes in page.tags if tag == "option"}
    assert inputs == {"count"} | {name for info in FAULTS.values() for name in info.options}
    assert {" ".join(info.options) for info in FAULTS.values()} <= offered
    assert "reset" in page.buttons


def test_only_the_newest_batches_are_shown(sandbox: Sandbox, ask: Ask) -> None:
    with httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http:
        for _ in range(51):
            http.post(PATH, json={"requests": [ask()]})
    assert "The newest 50 of 51." in Page(httpx2.get(sandbox.url).text).text


def test_foreign_text_stays_text(sandbox: Sandbox) -> None:
    mark = "<img/src=x/onerror=alert(1)>"
    httpx2.get(f"{sandbox.url}{PATH}/x", headers=HEADERS)
    httpx2.get(f"{sandbox.url}/{mark}", headers=HEADERS)
    # A client that does not encode what it sends, as httpx2 would.
    raw = httpx2.Request(
        "GET", sandbox.url + PATH, headers=HEADERS, extensions={"target": f"{PATH}?{mark}\"'".encode()}
    )
    with httpx2.Client() as http:
        http.send(raw)
    html = httpx2.get(sandbox.url).text
    page = Page(html)
    assert "onerror" in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert html.count("<script>") == 1


def test_nothing_but_its_own_style_and_script_may_run(sandbox: Sandbox) -> None:
    response = httpx2.get(sandbox.url)
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for element in ("style", "script"):
        (own,) = re.findall(rf"<{element}>(.*?)</{element}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    page = Page(response.text)
    assert not [1 for _, attributes in page.tags if {"style", "src", "href"} & attributes.keys()]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.soak
def test_its_script_runs_in_a_browser(sandbox: Sandbox, ask: Ask, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    batch_id = httpx2.post(sandbox.url + PATH, headers=HEADERS, json={"requests": [ask()]}).json()["id"]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", "--window-size=1200,900"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]

    def look(how: str) -> str:
        ran = subprocess.run([browser, *options, how, sandbox.url], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0
        assert "Content Security Policy" not in ran.stderr
        return ran.stdout

    seen = look("--dump-dom")
    assert '<html lang="en" class="live">' in seen  # the class is the script's
    assert batch_id in seen
    look(f"--screenshot={tmp_path / 'page.png'}")
    assert (tmp_path / "page.png").stat().st_size > 10_000
