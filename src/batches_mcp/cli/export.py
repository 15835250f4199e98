"""`export`: what other programs read instead of the capability file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batches_mcp import language as capabilities
from batches_mcp.cli.flags import capability
from batches_mcp.core.settings import packaged
from batches_mcp.language.routes import compile_rest
from batches_mcp.serve.openapi import document


@click.command
@click.argument("form", type=click.Choice(["openapi"]))
@capability
def export(*, form: str, capability: Path | None) -> None:  # noqa: ARG001 - there is one form so far
    """Print what the capability exposes over REST, in a FORM that other programs read.

    `serve --rest` serves the same at /openapi.json.
    """
    linked = capabilities.read(capability or packaged("capability.yaml"), trusted=capability is None)
    rest = compile_rest(linked)
    described = document(rest, f"http://127.0.0.1:{rest.port}" if rest.port else None)
    click.echo(json.dumps(described, indent=2, ensure_ascii=False))
