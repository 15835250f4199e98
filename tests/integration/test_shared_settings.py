"""Starting on a shared state: what is missing or does not fit is said, with what to do, and without the password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import httpx2
import psycopg
import pytest

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.sandbox import Sandbox
from batches_mcp.store.migrations import LATEST
from tests.support.creates import agent, create, end, requests
from tests.support.objects import object_server
from tests.support.postgres import PASSWORD, fresh_schema, fresh_url, url_of
from tests.support.servers import RESULTS, command, environment, running
from tests.support.states import OBJECT_STORE


def run(*arguments: str, **env: str) -> tuple[int, str]:
    """What a command said on standard error, and its exit code."""
    found = subprocess.run(
        command(*arguments), env=environment("test-key", **env), capture_output=True, text=True, input="", timeout=60
    )
    assert PASSWORD not in found.stdout + found.stderr
    return found.returncode, found.stderr


@pytest.fixture
def url(postgres: str) -> str:
    return fresh_url(postgres)


@pytest.fixture
def objects(tmp_path: Path) -> str:
    return (tmp_path / "objects").as_uri()


def test_tables_are_made_by_migrate_and_asked_for_by_every_command(postgres: str, objects: str, tmp_path: Path) -> None:
    url = url_of(postgres, fresh_schema(postgres))
    code, said = run("jobs", "--database-url", url, "--object-store", objects)
    assert code == 1
    assert "the tables of batches-mcp in postgresql://" in said
    assert "Run `batches-mcp migrate`" in said
    file = tmp_path / "url"
    file.write_text(url)
    file.chmod(0o600)
    env = {f"{DATABASE_URL}_FILE": str(file)}
    assert run("migrate", **env) == (
        0,
        (
            f"batches-mcp: the tables in postgresql://{postgres}/postgres are now of version {LATEST}\n"
            f"batches-mcp: the tables of jobs' tasks in postgresql://{postgres}/postgres are now those of Procrastinate "
            f"{metadata.version('procrastinate')}\n"
        ),
    )
    code, said = run("migrate", **env)
    assert (code, "up to date" in said) == (0, True)
    code, said = run("jobs", "--object-store", objects, **env)
    assert (code, "the ledger is empty" in said) == (0, True)


def test_a_later_version_made_the_tables(url: str, objects: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    for arguments in (("jobs", "--object-store", objects), ("migrate",)):
        code, said = run(*arguments, "--database-url", url)
        assert code == 1
        assert "version 99, which a later version of batches-mcp made" in said
        assert "Use that version of batches-mcp" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--database-url", "URL"), "--database-url shares the state with other servers, which needs --object-store"),
        (("--object-store", "file:///x"), "--object-store shares the state with other servers, which needs --database-url"),
        (("--database-url", "postgresql://me:PASSWORD@h:x/d"), "--database-url cannot be read; expected postgresql://USER"),
        (("--database-url", "URL", "--object-store", "ftp://x"), "expected s3://BUCKET/PREFIX or file:///FOLDER"),
        (("--database-url", "URL", "--object-store", "s3://key:PASSWORD@b"), "credentials in AWS_* variables"),
        (("--database-url", "postgresql://me:PASSWORD@127.0.0.1:1/d", "--object-store", "file:///x"), "127.0.0.1:1/d cannot be used"),
        (("--database-url", "URL", "--object-store", "file:///dev/null/x"), "the object store file:///dev/null/x cannot be used"),
    ],
)  # fmt: skip
def test_settings_that_do_not_do(flags: tuple[str, ...], words: str, url: str) -> None:
    given = [url if each == "URL" else each.replace("PASSWORD", PASSWORD) for each in flags]
    code, said = run("serve", *given, "--log-level", "debug")
    assert code in (1, 2)
    assert words in said
    assert "Traceback" not in said


def test_a_ledger_that_is_shared_is_kept(url: str, objects: str) -> None:
    code, said = run("serve", "--database-url", url, "--object-store", objects, "--no-ledger")
    assert (code, "leave --no-ledger out" in said) == (2, True)


@pytest.mark.parametrize("module", ["psycopg", "obstore"])
def test_without_the_extra_it_is_said_what_to_install(module: str, url: str, objects: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from batches_mcp.cli import run; sys.exit(run(sys.argv[1:]))"
    arguments = ["jobs", "--database-url", url, "--object-store", objects]
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment("k"), capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 2
    assert 'install "batches-mcp[team]"' in found.stderr
    assert PASSWORD not in found.stderr


def test_one_machine_imports_nothing_of_it() -> None:
    code = "import sys; from batches_mcp.cli import run; run(['jobs']); print([n for n in sys.modules if n.split('.')[0] in ('psycopg', 'obstore', 'duckdb', 'procrastinate')])"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment("k"), capture_output=True, text=True, timeout=60
    )
    assert found.stdout == "[]\n", found.stderr


# S3


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_server() as url:
        httpx2.put(f"{url}/bucket").raise_for_status()
        yield url


@pytest.fixture
def aws(s3: str) -> dict[str, str]:
    """AWS's own settings, for that store."""
    names = {"AWS_ENDPOINT_URL": s3, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    return {**names, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret-of-s3"}


@pytest.mark.anyio
async def test_requests_and_results_are_in_the_bucket(
    sandbox: Sandbox, key: str, url: str, s3: str, aws: dict[str, str], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**aws, DATABASE_URL: url, OBJECT_STORE: f"s3://bucket/{key}"}.items():
        monkeypatch.setenv(name, value)
    async with agent(sandbox.url, key) as client:
        batch_id, _ = await create(client, {"requests": requests(3)})
        end(sandbox, str(batch_id))
        page = {"message_batch_id": batch_id}
        first = (await client.call_tool(RESULTS, page)).structured_content
    listed = httpx2.get(f"{s3}/bucket", params={"prefix": key}).text
    assert [f"{key}/{name}/" in listed for name in ("kept", "spool")] == [True, True]
    read = len([each for each in sandbox.requests if each.path.endswith("/results")])
    async with agent(sandbox.url, key, state=Path(f"{state}-other")) as other:
        assert (await other.call_tool(RESULTS, page)).structured_content == first
    assert len([each for each in sandbox.requests if each.path.endswith("/results")]) == read


def test_a_bucket_that_is_not_there_is_said_at_the_start(url: str, aws: dict[str, str]) -> None:
    code, said = run("jobs", "--database-url", url, "--object-store", "s3://nowhere/x", **aws)
    assert code == 1
    assert "the object store s3://nowhere/x cannot be used" in said
    assert "look at that store and the rights to it" in said
    assert "secret-of-s3" not in said


def test_readiness_looks_at_every_place_of_the_state(url: str, objects: str, tmp_path: Path) -> None:
    flags = ("--database-url", url, "--object-store", objects, "--base-url", "http://127.0.0.1:9")
    mark = tmp_path / "objects" / "batches-mcp.json"
    with running(["serve", "--transport", "http", "--port", "0", *flags]) as process:
        ready = process.say_until(r"serving MCP at (http://\S+)/mcp")[1] + "/readyz"
        mark.rename(tmp_path / "away")
        said = httpx2.get(ready)
        assert said.status_code == 503
        assert said.json()["not_ready"] == {"object_store": "it cannot be used; the server's log has the details"}
        checks = {
            "state": "ok",
            "database": "ok",
            "object_store": said.json()["not_ready"]["object_store"],
            "lease": "ok",
        }
        assert said.json()["checks"] == checks
        process.say_until("not ready: object_store: the object store file://.*batches-mcp.json is no longer there")
        (tmp_path / "away").rename(mark)
        assert (httpx2.get(ready).status_code, httpx2.get(ready).json()["checks"]["object_store"]) == (200, "ok")
    assert not [line for line in process.lines if PASSWORD in line]
