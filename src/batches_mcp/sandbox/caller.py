"""Who is calling and how: the request headers every endpoint checks. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from batches_mcp.sandbox.catalogue import BETAS, VERSIONS
from batches_mcp.sandbox.errors import (
    api_key_invalid,
    credential_missing,
    unexpected_betas,
    version_missing,
    version_unknown,
)
from batches_mcp.sandbox.lifecycle import Terms

__all__ = ["CREDENTIAL_HEADERS", "Caller", "fingerprint", "identify", "masked"]

CREDENTIAL_HEADERS = frozenset({"x-api-key", "authorization", "proxy-authorization", "cookie"})

# A key that says it is bad is answered like one.
_BAD_KEY_MARK = "invalid"


@dataclass(frozen=True, slots=True)
class Caller:
    """An accepted caller.

    tenant: hash of the key; batches are visible to their tenant only.
    """

    tenant: str
    terms: Terms


def identify(headers: Mapping[str, str], beta_headers: list[str]) -> Caller:
    """The caller, or ApiError 401 (credential) or 400 (version, betas).

    headers: by lower-case name. beta_headers: every `anthropic-beta` header, as it may be repeated.
    Any key that is not empty is a tenant of its own, except one that contains `invalid`, which gets the API's answer
    to a bad key. `x-api-key` wins over `Authorization: Bearer` when both are sent, as at Anthropic.
    `anthropic-workspace-id` is taken and has no effect: a key has one workspace here.
    """
    key = headers.get("x-api-key", "").strip() or _bearer(headers.get("authorization", ""))
    if not key:
        raise credential_missing()
    if _BAD_KEY_MARK in key.lower():
        raise api_key_invalid()
    version = headers.get("anthropic-version")
    if version is None:
        raise version_missing()
    if version not in VERSIONS:
        raise version_unknown(version)
    betas = [name.strip() for header in beta_headers for name in header.split(",") if name.strip()]
    if unknown := [name for name in betas if name not in BETAS]:
        raise unexpected_betas(unknown)
    tenant = hashlib.sha256(key.encode()).hexdigest()
    return Caller(tenant, Terms(version, frozenset(betas), headers.get("anthropic-user-profile-id")))


def fingerprint(secret: str) -> str:
    """What is shown in place of a credential: `sha256:` and the first 12 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()[:12]}"


def masked(name: str, value: str) -> str:
    """A header's value, with a credential replaced by its fingerprint (after the scheme, if `Bearer` is the scheme)."""
    if name not in CREDENTIAL_HEADERS:
        return value
    key = _bearer(value)
    return f"Bearer {fingerprint(key)}" if key else fingerprint(value)


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
