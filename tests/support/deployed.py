"""What is in deploy/, read: the files as data, without the tools that they are for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose"
NGINX = DEPLOY / "nginx" / "nginx.conf"
CHART = DEPLOY / "helm" / "batches-mcp"

# What a chart needs to be told, and all that it can be told.
FEWEST_VALUES: dict[str, Any] = {"objectStore": {"url": "s3://bucket/prefix"}}
ALL_VALUES: dict[str, Any] = {
    "replicas": 3,
    "imagePullSecrets": [{"name": "registry"}],
    "objectStore": {
        "url": "s3://bucket/prefix",
        "region": "eu-central-1",
        "endpoint": "http://objects:8333",
        "allowHttp": True,
        "secret": "objects",
    },
    "oidc": {
        "issuer": "https://idp.example.com",
        "resourceUrl": "https://batches.example.com/mcp",
        "audiences": ["one", "two"],
        "scopeClaim": "scp",
        "teamClaim": "roles",
    },
    "hosts": ["batches.example.com", "batches.internal"],
    "maxCostUsd": 1500,
    "drainSeconds": 900,
    "worker": {
        "enabled": True,
        "replicas": 5,
        "concurrency": 8,
        "tables": {"sizeLimit": "80Gi"},
        "resources": {"limits": {"memory": "4Gi"}},
    },
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"},
    "serviceAccount": {"annotations": {"example.com/role": "batches"}},
    "env": {"BATCHES_MCP_WAIT_CAP": "30"},
    "podAnnotations": {"example.com/note": "x"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
}


def files() -> Iterator[Path]:
    """All that is in deploy/, but for secrets that were made there."""
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file() and "secrets" not in path.relative_to(DEPLOY).parts[:-1]:
            yield path


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in text.splitlines() if line.strip()]


def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    document: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return document


def directives() -> list[tuple[str, ...]]:
    """The directives of nginx.conf in their order, with their arguments; blocks are told by their first line."""
    text = re.sub(r"(?m)^\s*#.*$", "", NGINX.read_text())
    words = re.findall(r"'[^']*'|\"[^\"]*\"|[^\s;{}]+|[;{}]", text)
    found: list[tuple[str, ...]] = []
    current: list[str] = []
    for word in words:
        if word in ";{}":
            if current:
                found.append(tuple(current))
            current = []
        else:
            current.append(word)
    return found
