"""What the servers of a team share: PostgreSQL, an object store, and nginx in front of two of them, as deploy/ has it.

All of them are those of the tests: a PostgreSQL from a package, moto in place of S3, Debian's nginx.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from batches_mcp.access.keys import hash_of
from batches_mcp.core.settings import DATABASE_URL
from benchmarks import processes
from benchmarks.clients import Place
from benchmarks.processes import BARE, SUBJECT
from tests.support.objects import object_server
from tests.support.postgres import fresh_url
from tests.support.proxied import IDP, SERVICE, free_ports, made_secrets, nginx_before
from tests.support.states import OBJECT_STORE, STATE_DIR

_BUCKET = "batches"


@dataclass(frozen=True, slots=True)
class Store:
    """An object store, and what a server needs to be told of it."""

    name: str
    variables: Mapping[str, str]


@contextmanager
def object_stores(folder: Path) -> Iterator[tuple[Store, Store]]:
    """One that speaks S3, and one in a folder."""
    with object_server() as endpoint:
        httpx2.put(f"{endpoint}/{_BUCKET}").raise_for_status()
        s3 = {
            OBJECT_STORE: f"s3://{_BUCKET}/service",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        }
        yield Store("S3 (moto)", s3), Store("file:///", {OBJECT_STORE: f"file://{folder}"})


def settings(host: str, store: Store) -> dict[str, str]:
    """What servers have in common: new tables of the PostgreSQL at `host`, and a store."""
    return {DATABASE_URL: fresh_url(host), **store.variables}


@dataclass(frozen=True, slots=True)
class Service:
    """Two replicas behind nginx, and a bare server: behind the same nginx, and as it is."""

    service: Place
    bare: Place
    bare_directly: Place


@contextmanager
def service(
    nginx: str, stub_port: int, common: Mapping[str, str], tokens: Mapping[str, str], folder: Path
) -> Iterator[Service]:
    """Start all of it; `tokens` are keys of one team, by their names."""
    secrets = made_secrets(folder, "not-a-key", common[DATABASE_URL])
    teams = folder / "teams.yaml"
    teams.write_text(_teams(tokens))
    with ExitStack() as stack:
        bare = stack.enter_context(processes.http_server(BARE, stub_port))
        one, two = (
            stack.enter_context(
                processes.http_server(
                    SUBJECT,
                    stub_port,
                    BATCHES_MCP_TEAMS=str(teams),
                    FORWARDED_ALLOW_IPS="*",
                    **common,
                    **{STATE_DIR: str(folder / f"state-{number}")},
                )
            )
            for number in (1, 2)
        )
        [public] = free_ports(1)
        # The bare server is where the trial's identity provider would be.
        stack.enter_context(nginx_before((one, two), bare, public, nginx, folder, secrets))
        tls = ssl.create_default_context(cafile=str(secrets / "ca.crt"))
        yield Service(Place(public, SERVICE, tls), Place(public, IDP, tls), Place(bare))


def _teams(tokens: Mapping[str, str]) -> str:
    """A teams file; JSON is YAML as well."""
    scopes = ["batches:read", "batches:write"]
    keys = [
        {"name": name, "sha256": hash_of(token), "team": "search", "scopes": scopes} for name, token in tokens.items()
    ]
    return json.dumps({"teams": {"search": {"cap_usd": {"day": 200, "month": 2000}}}, "keys": keys})
