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
from batches_mcp.sandbox.inferred import Inferred
from batches_mcp.sandbox.lifecycle import Terms

__all__ = ["CREDENTIAL_HEADERS", "Caller", "fingerprint", "identify", "key_in", "masked", "shown", "tenant_of"]

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


def tenant_of(key: str) -> str:
    """The tenant that a key is."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_in(headers: Mapping[str, str]) -> str:
    """The API key, empty if there is none. `x-api-key` wins when both headers are sent, as at Anthropic."""
    return headers.get("x-api-key", "").strip() or _bearer(headers.get("authorization", ""))


def identify(headers: Mapping[str, str], beta_headers: list[str], choices: Inferred) -> Caller:
    """The caller, or ApiError 401 (credential) or 400 (version, betas).

    headers: by lower-case name. beta_headers: every `anthropic-beta` header, as it may be repeated.
    Any key that is not empty is a tenant of its own, except one that contains `invalid`, which gets the API's answer
    to a bad key.
    `anthropic-workspace-id` is taken and has no effect: a key has one workspace here.
    """
    key = key_in(headers)
    if not key:
        raise credential_missing()
    if _BAD_KEY_MARK in key.lower():
        raise api_key_invalid()
    version = headers.get("anthropic-version")
    if version is None:
        raise version_missing()
    if version not in VERSIONS and choices.unknown_version == "400":
        raise version_unknown(version)
    betas = [name.strip() for header in beta_headers for name in header.split(",") if name.strip()]
    if unknown := [name for name in betas if name not in BETAS]:
        raise unexpected_betas(unknown)
    return Caller(tenant_of(key), Terms(version, frozenset(betas), headers.get("anthropic-user-profile-id")))


def fingerprint(secret: str) -> str:
    """What is shown in place of a credential: `sha256:` and the first 12 hexadecimal digits."""
    return shown(tenant_of(secret))


def shown(tenant: str) -> str:
    """A tenant as the fingerprint of its key."""
    return f"sha256:{tenant[:12]}"


def masked(name: str, value: str) -> str:
    """A header's value, with a credential replaced by its fingerprint (after the scheme, if `Bearer` is the scheme)."""
    if name not in CREDENTIAL_HEADERS:
        return value
    key = _bearer(value)
    return f"Bearer {fingerprint(key)}" if key else fingerprint(value)


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
