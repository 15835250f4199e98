"""Two replicas behind nginx, as deploy/ has them: its nginx.conf, the variables of its compose file, its secrets.sh.

Only addresses and folders are others than in containers, and the API is the sandbox.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support import deployed
from tests.support.objects import object_server
from tests.support.postgres import fresh_schema, url_of
from tests.support.servers import Era, Process, running

# Where `make deploy` installs what it needs from npm.
INSTALLED = Path(os.environ.get("BATCHES_MCP_DEPLOY", ".deploy")).absolute()
DCLINT = INSTALLED / "node_modules" / ".bin" / "dclint"

# In place of batches.localhost and idp.localhost, which not every machine finds.
SERVICE, IDP = "127.0.0.1", "localhost"

ACCESS_LOG = "access.log"


@dataclass(frozen=True)
class Proxied:
    """The service: its public `url` without a path, that of its issuer, a named key, and who is behind it."""

    url: str
    issuer: str
    key: str
    client_secret: str
    tls: ssl.SSLContext
    replicas: tuple[Process, Process]
    ports: tuple[int, int]
    access_log: Path

    def answered_by(self) -> list[str]:
        """Which replica answered each request, the first one first; more than one where it was handed on."""
        return re.findall(r"replica=(.*) seconds=", self.access_log.read_text())

    def http(self, **headers: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(headers=headers, verify=self.tls, timeout=60)

    @asynccontextmanager
    async def client(self, era: Era, path: str = "/key/mcp", token: str | None = None) -> AsyncIterator[Client]:
        """An SDK client with the named key, or another token."""
        async with (
            self.http(authorization=f"Bearer {token or self.key}") as http,
            Client(streamable_http_client(self.url + path, http_client=http), mode=era) as client,
        ):
            yield client


def free_ports(number: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def replaced(text: str, pairs: dict[str, str]) -> str:
    """Each of the words is there, and is replaced."""
    for old, new in pairs.items():
        assert old in text, f"{old} is not there"
        text = text.replace(old, new)
    return text


@contextmanager
def proxied(base_url: str, api_key: str, postgres: str, folder: Path) -> Iterator[Proxied]:
    """Start all of it, and end it."""
    nginx = installed_nginx()
    assert nginx, "nginx is not installed (Debian: apt-get install nginx-light)"
    one, two, idp, public = free_ports(4)
    secrets = made_secrets(folder, api_key, url_of(postgres, fresh_schema(postgres)))
    with ExitStack() as stack:
        objects = stack.enter_context(object_server())
        assert httpx2.put(f"{objects}/batches").status_code == 200
        services = deployed.compose()["services"]
        places = {
            "idp.localhost:8443": f"{IDP}:{public}",
            "batches.localhost:8443": f"{SERVICE}:{public}",
            "/run/secrets": str(secrets),
            "http://objects:8333": objects,
        }
        variables = {
            name: with_places(value, places) for name, value in services["replica-1"]["environment"].items()
        } | dict(line.split("=", 1) for line in (secrets / "s3.env").read_text().splitlines())
        provider = {name: with_places(value, places) for name, value in services["idp"]["environment"].items()}
        stack.enter_context(identity_provider(provider | {"PORT": str(idp)}))
        with running(["migrate"], None, **variables) as migrating:
            assert migrating.popen.wait(60) == 0, migrating.lines
        replicas = []
        for number, port in enumerate((one, two)):
            own = variables | {
                "BATCHES_MCP_REST_PORT": str(port),
                "BATCHES_MCP_STATE_DIR": str(folder / f"state-{number}"),
                "BATCHES_MCP_METRICS_ADDRESS": "127.0.0.1:0",
            }
            flags = ["serve", "--transport", "http", "--port", str(port), "--base-url", base_url]
            replica = stack.enter_context(running(flags, None, **own))
            replica.say_until("serving MCP at")
            replicas.append(replica)
        stack.enter_context(nginx_before((one, two), idp, public, nginx, folder, secrets))
        yield Proxied(
            f"https://{SERVICE}:{public}",
            f"https://{IDP}:{public}",
            (secrets / "search-key").read_text().strip(),
            (secrets / "idp-client-secret").read_text().strip(),
            ssl.create_default_context(cafile=str(secrets / "ca.crt")),
            (replicas[0], replicas[1]),
            (one, two),
            folder / ACCESS_LOG,
        )


def with_places(value: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        value = value.replace(old, new)
    return value


def made_secrets(folder: Path, api_key: str, database_url: str) -> Path:
    """What secrets.sh makes beside what is there already."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "database-url").write_text(database_url)
    script = [str(deployed.COMPOSE / "secrets.sh"), str(secrets)]
    variables = {**os.environ, "ANTHROPIC_API_KEY": api_key}
    subprocess.run(["sh", *script], env=variables, stdout=subprocess.DEVNULL, check=True, timeout=60)
    return secrets


@contextmanager
def identity_provider(variables: dict[str, str], installed: Path = INSTALLED) -> Iterator[None]:
    """The one of compose.yaml, run where its package is installed."""
    assert (installed / "node_modules" / "oidc-provider").is_dir(), (
        "run make deploy (or make hosts), which installs oidc-provider"
    )
    script = installed / "provider.mjs"
    script.write_text((deployed.COMPOSE / "idp" / "provider.mjs").read_text())
    with subprocess.Popen(
        ["node", str(script)], env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert b"listening" in process.stdout.readline()
            yield
        finally:
            process.kill()


def installed_nginx() -> str | None:
    return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")


@contextmanager
def nginx_before(
    replicas: tuple[int, int], idp: int, public: int, program: str, folder: Path, secrets: Path
) -> Iterator[None]:
    """nginx.conf of deploy/, on port `public` of loopback, before servers on these ports: `SERVICE` is the replicas."""
    places = {
        " /tmp/": f" {folder}/",
        "replica-1:9090": f"127.0.0.1:{replicas[0]}",
        "replica-2:9090": f"127.0.0.1:{replicas[1]}",
        "idp:3000": f"127.0.0.1:{idp}",
        "server_name idp.localhost": f"server_name {IDP}",
        "listen 8443": f"listen 127.0.0.1:{public}",
        "/run/secrets": str(secrets),
        "/dev/stdout": str(folder / ACCESS_LOG),
        "/dev/stderr": str(folder / "error.log"),
    }
    with nginx_with(program, replaced(deployed.NGINX.read_text(), places), folder, public):
        yield


@contextmanager
def nginx_with(program: str, config: str, folder: Path, port: int) -> Iterator[None]:
    path = folder / "nginx.conf"
    path.write_text(config)
    directives = f"daemon off;{' user root;' if os.getuid() == 0 else ''}"
    command = [program, "-c", str(path), "-e", str(folder / "error.log"), "-g", directives]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert tried.returncode == 0, tried.stderr
    assert "warn" not in tried.stderr, tried.stderr
    with subprocess.Popen(command) as process:
        try:
            until_listening(port, process)
            yield
        finally:
            process.terminate()


def until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    while not is_open(port):
        assert process.poll() is None, "nginx ended at once"


def is_open(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
