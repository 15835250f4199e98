"""A real identity provider and the official client: found, registered, logged in, asked for more, and at work."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from batches_mcp.sandbox import Sandbox
from tests.support.creates import requests
from tests.support.proxied import identity_provider
from tests.support.servers import CREATE, LIST, RETRIEVE, Era, running
from tests.support.teams import teams_file

pytestmark = [pytest.mark.hosts, pytest.mark.anyio]

# Where `make hosts` installs what it needs from npm.
INSTALLED = Path(os.environ.get("BATCHES_MCP_HOSTS", ".hosts/node_modules/.bin")).absolute().parents[1]
CALLBACK = "http://127.0.0.1:9/callback"
SECRET = "agent-secret"


@dataclass(frozen=True)
class Service:
    """Where the provider and our server are."""

    issuer: str
    mcp: str


@pytest.fixture(scope="module")
def service(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    ports = _free_ports()
    issuer, mcp = (f"http://127.0.0.1:{port}" for port in ports)
    folder = tmp_path_factory.mktemp("service")
    (folder / "client-secret").write_text(SECRET)
    variables = {
        "IDP_ISSUER": issuer,
        "IDP_AUDIENCE": f"{mcp}/mcp",
        "IDP_CLIENT_SECRET_FILE": str(folder / "client-secret"),
        "PORT": str(ports[0]),
    }
    with identity_provider(variables, INSTALLED):
        file = teams_file(folder, claims={"people": "search", "agents": "ads"})
        flags = ["--teams", str(file), "--oidc-issuer", issuer, "--resource-url", f"{mcp}/mcp"]
        serve = ["serve", "--transport", "http", "--port", str(ports[1]), "--base-url", sandbox.url, *flags]
        with running(serve, key="oidc-provider") as process:
            process.say_until("serving MCP at")
            yield Service(issuer, f"{mcp}/mcp")


def _free_ports() -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@dataclass
class Person:
    """Keeps what a client is given, and does what a person does in a browser; `asked` are the scopes of each login."""

    client: OAuthClientInformationFull | None = None
    tokens: OAuthToken | None = None
    asked: list[str] = field(default_factory=list)
    answer: dict[str, str] = field(default_factory=dict)

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info

    async def browse(self, url: str) -> None:
        self.asked.append(parse_qs(urlsplit(url).query)["scope"][0])
        async with httpx2.AsyncClient() as browser:
            page = await browser.get(url)
            for _ in range(20):
                while page.is_redirect:
                    to = urljoin(str(page.url), page.headers["location"])
                    if to.startswith(CALLBACK):
                        self.answer = {name: values[0] for name, values in parse_qs(urlsplit(to).query).items()}
                        return
                    page = await browser.get(to)
                action = re.search(r'action="([^"]+)"', page.text)
                prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
                assert action is not None, page.text
                assert prompt is not None, page.text
                form = {"prompt": prompt[1], "login": "alice", "password": "x"}
                page = await browser.post(urljoin(str(page.url), action[1]), data=form)
        raise AssertionError("the login has no end")

    async def come_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            code=self.answer["code"], state=self.answer.get("state"), iss=self.answer.get("iss")
        )


@asynccontextmanager
async def client(service: Service, auth: Any, era: Era) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(service.mcp, http_client=http), mode=era) as connected,
    ):
        yield connected


def login(service: Service, person: Person, scope: str | None = None) -> OAuthClientProvider:
    metadata = OAuthClientMetadata(
        redirect_uris=[CALLBACK],  # type: ignore[list-item]
        client_name="test",
        token_endpoint_auth_method="none",
        scope=scope,
    )
    return OAuthClientProvider(service.mcp, metadata, person, person.browse, person.come_back)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_registers_logs_in_and_works_for_its_team(era: Era, service: Service) -> None:
    person = Person()
    async with client(service, login(service, person), era) as connected:
        assert not (await connected.call_tool(LIST, {})).is_error
        made = await connected.call_tool(CREATE, {"requests": requests(1, f"{era}-person-")})
        assert not made.is_error
    assert person.client is not None
    assert len(person.asked) == 1  # both scopes at once: what a client registered with is all that it gets
    assert {"batches:read", "batches:write"} <= set(person.asked[0].split())
    agent = ClientCredentialsOAuthProvider(
        service.mcp, Person(), "agent", SECRET, scope="batches:read batches:write", issuer=service.issuer
    )
    async with client(service, agent, era) as connected:
        theirs = {"message_batch_id": (made.structured_content or {})["id"]}
        assert (await connected.call_tool(RETRIEVE, theirs)).is_error
        own = await connected.call_tool(CREATE, {"requests": requests(1, f"{era}-agent-")})
        assert not own.is_error


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_that_may_read_asks_for_more_when_it_writes(era: Era, service: Service) -> None:
    """What a client registers itself for is the most that it gets."""
    person = Person(client=await _registered(service))
    person.tokens = await _read_only_token(service)
    async with client(service, login(service, person), era) as connected:
        assert not (await connected.call_tool(LIST, {})).is_error
        assert person.asked == []
        made = await connected.call_tool(CREATE, {"requests": requests(1, f"{era}-more-")})
        assert not made.is_error
    assert len(person.asked) == 1
    assert {"batches:read", "batches:write"} <= set(person.asked[0].split())


async def _read_only_token(service: Service) -> OAuthToken:
    """A token that was given for less."""
    async with httpx2.AsyncClient() as http:
        form = {"grant_type": "client_credentials", "scope": "batches:read", "resource": service.mcp}
        answer = await http.post(f"{service.issuer}/token", data=form, auth=("agent", SECRET))
    return OAuthToken.model_validate(answer.json())


async def _registered(service: Service) -> OAuthClientInformationFull:
    metadata = {
        "redirect_uris": [CALLBACK],
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "offline_access batches:read batches:write",
    }
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{service.issuer}/reg", json=metadata)
    return OAuthClientInformationFull.model_validate({**answer.json(), "issuer": service.issuer})
