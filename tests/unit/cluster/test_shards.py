"""Shards: which objects a URL names, and that they are fetched as they were found; files, and a bucket on real sockets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from batches_mcp.cluster import shards
from batches_mcp.core.errors import InvalidArguments, StateUnusable, UsageError
from tests.support.clouds import cloud
from tests.support.objects import object_server

NAMES = (
    "b/2.parquet",
    "a/10.parquet",
    "a/9.parquet",
    "a/_x/3.parquet",
    "a/_SUCCESS",
    "a/.h.parquet",
    "a/c.csv.gz",
    "t.md",
)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_server() as url:
        httpx2.put(f"{url}/bucket").raise_for_status()
        for name in NAMES:
            httpx2.put(f"{url}/bucket/in/{name}", content=name.encode()).raise_for_status()
        yield url


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {"ENDPOINT_URL": s3, "ALLOW_HTTP": "true", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-s3")
    return "s3://bucket"


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with cloud() as url:
        account = {
            "gcs_base_url": url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        yield "gs://bucket"


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with cloud() as url:
        settings = {
            "STORAGE_ENDPOINT": url,
            "STORAGE_ACCOUNT_NAME": "a",
            "SKIP_SIGNATURE": "true",
            "ALLOW_HTTP": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"AZURE_{name}", value)
        yield "az://container"


@pytest.fixture
def files(tmp_path: Path) -> str:
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return str(tmp_path)


PATTERNS = [
    ("in/a/*.parquet", ["a/10.parquet", "a/9.parquet"]),
    ("in/*/*.parquet", ["a/10.parquet", "a/9.parquet", "b/2.parquet"]),
    ("in/**/*.parquet", ["a/10.parquet", "a/9.parquet", "b/2.parquet"]),
    ("in/a/?.parquet", ["a/9.parquet"]),
    ("in/**a/9*", ["a/9.parquet"]),
    ("*/?/[29].*", ["a/9.parquet", "b/2.parquet"]),
    ("in/a/[!1]*.parquet", ["a/9.parquet"]),
    ("in/a/_x/*", ["a/_x/3.parquet"]),
    ("in/a/_*", ["a/_SUCCESS"]),
    ("in/b/2.parquet", ["b/2.parquet"]),
    ("in/a", ["a/10.parquet", "a/9.parquet", "a/c.csv.gz"]),
    ("in/", ["a/10.parquet", "a/9.parquet", "a/c.csv.gz", "b/2.parquet"]),
    ("in/**", ["a/10.parquet", "a/9.parquet", "a/c.csv.gz", "b/2.parquet", "t.md"]),
]


@pytest.mark.parametrize(("pattern", "names"), PATTERNS)
@pytest.mark.parametrize("place", ["bucket", "files"])
def test_the_objects_of_a_url_in_the_order_of_their_keys(
    pattern: str, names: list[str], place: str, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(place)
    found = shards.find(f"{base}/{pattern}")
    assert [each.url for each in found] == [f"{base}/in/{name}" for name in names]
    assert [each.number for each in found] == list(range(len(names)))
    assert [each.size_bytes for each in found] == [len(name) for name in names]
    assert all(each.version for each in found)
    assert shards.find(f"{base}/{pattern}") == found


def test_a_url_of_a_file_is_its_path(files: str) -> None:
    assert shards.find(f"{Path(files).as_uri()}/in/b/*") == shards.find(f"{files}/in/b/2.parquet")


def test_wildcards_in_a_name_that_is_there_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("x")
    assert [each.url for each in shards.find(f"{tmp_path}/a[1].csv")] == [f"{tmp_path}/a[1].csv"]


@pytest.mark.parametrize("place", ["bucket", "files"])
def test_no_object_is_an_error_that_says_what_there_is(place: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(place)
    with pytest.raises(
        UsageError, match=re.escape(f"no object matches {base}/in/b/*.csv; below {base}/in/b there are 2.parquet")
    ):
        shards.find(f"{base}/in/b/*.csv")
    with pytest.raises(UsageError, match=r"there is no(thing below| folder)"):
        shards.find(f"{base}/nowhere/*.parquet")


@pytest.mark.parametrize("url", ["ftp://x/*.parquet", "s3:///*.parquet", "s3://id:secret@bucket/*.parquet"])
def test_a_url_that_is_no_place(url: str) -> None:
    with pytest.raises(UsageError, match="expected s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY, file:///PATH"):
        shards.find(url)


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(
        StateUnusable, match="storage_unusable: the object store s3://nowhere cannot be used: there is no such bucket"
    ):
        shards.find("s3://nowhere/*.parquet")


def test_a_shard_is_fetched_as_it_was_found(bucket: str, tmp_path: Path) -> None:
    folder = shards.folder(f"{bucket}/changing")
    folder.put("a b.parquet", b"before")
    [shard] = shards.find(f"{bucket}/changing/*")
    assert shards.fetch(shard, tmp_path / "copy").read_bytes() == b"before"
    folder.put("a b.parquet", b"after!")
    with pytest.raises(InvalidArguments, match=r"input_changed: s3://bucket/changing/a b\.parquet changed since"):
        shards.fetch(shard, tmp_path / "another")
    folder.forget("a b.parquet")
    with pytest.raises(InvalidArguments, match="is gone since the job was submitted"):
        shards.fetch(shard, tmp_path / "another")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_a_file_stays_where_it_is(files: str, tmp_path: Path) -> None:
    [shard] = shards.find(f"{files}/in/b/*")
    file = Path(files, "in/b/2.parquet")
    assert shards.fetch(shard, tmp_path / "copy") == file
    os.utime(file, ns=(1, 1))
    with pytest.raises(InvalidArguments, match="changed since the job was submitted"):
        shards.fetch(shard, tmp_path / "copy")
    file.unlink()
    with pytest.raises(InvalidArguments, match="is gone"):
        shards.fetch(shard, tmp_path / "copy")


@pytest.mark.parametrize("place", ["bucket", "files"])
def test_an_object_is_put_and_read(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    out = f"{request.getfixturevalue(place)}/out/of/it"
    (tmp_path / "x").write_bytes(b"content")
    assert shards.read(out, "part-00000.parquet") is None
    shards.put(out, "part-00000.parquet", tmp_path / "x")
    shards.put(f"{out}/", "_SUCCESS", b"")
    assert (shards.read(out, "part-00000.parquet"), shards.read(out, "_SUCCESS")) == (b"content", b"")
    assert [each.url for each in shards.find(out)] == [f"{out}/part-00000.parquet"]


@pytest.mark.parametrize("place", ["google", "azure"])
def test_other_clouds(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    base = request.getfixturevalue(place)
    for name in NAMES:
        shards.put(f"{base}/in", name, name.encode())
    found = shards.find(f"{base}/in/**/*.parquet")
    assert [each.url for each in found] == [
        f"{base}/in/{name}" for name in ("a/10.parquet", "a/9.parquet", "b/2.parquet")
    ]
    assert shards.fetch(found[0], tmp_path / "copy").read_text() == "a/10.parquet"
    assert shards.find(f"{base}/in/b/2.parquet")[0].version == found[2].version
    assert shards.read(f"{base}/in", "nothing") is None
    shards.put(f"{base}/in/b", "2.parquet", b"another")
    with pytest.raises(InvalidArguments, match=r"/in/b/2\.parquet changed since"):
        shards.fetch(found[2], tmp_path / "again")


def test_a_cloud_whose_settings_lack_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StateUnusable, match=r"the object store az://container cannot be used: .*[Aa]ccount"):
        shards.find("az://container/*.parquet")
