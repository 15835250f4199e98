"""Whose batches a request is about: the credential it carries, and where it goes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from pydantic import SecretStr

from batches_mcp import request
from batches_mcp.capability.origins import origin_of
from batches_mcp.plan import RequestPlan


def account_id(plan: RequestPlan, variables: Mapping[str, SecretStr]) -> str:
    """A name for the account, from which neither the credential nor the origin can be told.

    Raises:
        MissingVariable: the credential is not set.
    """
    bare = request.build(replace(plan, path=(), feeds=(), body=None), {}, variables)
    credential = "\n".join(f"{name.lower()}: {value}" for name, value in bare.headers)
    query = bare.url.partition("?")[2]
    return hashlib.sha256(f"{origin_of(bare.url)}\n{query}\n{credential}".encode()).hexdigest()[:24]
