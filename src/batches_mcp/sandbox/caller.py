"""Who is calling and how: the request headers every endpoint checks. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from batches_mcp.sandbox.catalogue import BETAS, VERSIONS
from batches_mcp.sandbox.errors import (
    api_key_invalid,
    credential_missing,
    unexpected_betas,
    version_missing,
    version_unknown,
    wrong_workspace,
)
from batches_mcp.sandbox.inferred import Inferred
from batches_mcp.sandbox.lifecycle import Terms
from batches_mcp.sandbox.wire import opaque_id

__all__ = [
    "CREDENTIAL_HEADERS",
    "Caller",
    "fingerprint",
    "identify",
    "key_hash",
    "key_in",
    "masked",
    "shown",
    "workspace_id",
]

CREDENTIAL_HEADERS = frozenset({"x-api-key", "authorization", "proxy-authorization", "cookie"})

# A key that says it is bad is answered like one.
_BAD_KEY_MARK = "invalid"


@dataclass(frozen=True, slots=True)
class Caller:
    """An accepted caller.

    tenant: hash of the workspace; batches are visible to their tenant only.
    """

    tenant: str
    terms: Terms

    @property
    def headers(self) -> Mapping[str, str]:
        """What every answer says about the credential. Inferred: the form of the organization's id, a UUID."""
        organization = str(UUID(self.tenant[-32:], version=4))
        return {"anthropic-organization-id": organization, "anthropic-workspace-id": workspace_id(self.tenant)}


def key_hash(key: str) -> str:
    """What is kept and compared in place of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def workspace_id(tenant: str) -> str:
    """The id of a tenant's workspace."""
    return opaque_id("wrkspc_", tenant)


def _tenant_of(key: str) -> str:
    """A workspace of the key's own, or the one that it names as in `key@workspace`."""
    _, at, workspace = key.partition("@")
    return key_hash(at + workspace if workspace else key)


def key_in(headers: Mapping[str, str]) -> str:
    """The API key, empty if there is none. `x-api-key` wins when both headers are sent, as at Anthropic."""
    return headers.get("x-api-key", "").strip() or _bearer(headers.get("authorization", ""))


def identify(headers: Mapping[str, str], beta_headers: list[str], choices: Inferred) -> Caller:
    """The caller, or ApiError 401 (credential) or 400 (version, betas).

    headers: by lower-case name. beta_headers: every `anthropic-beta` header, as it may be repeated.
    Any key is accepted except one that contains `invalid`, which gets the API's answer to a bad key.
    A key has one workspace here: `anthropic-workspace-id`, where it is sent, must be that one's.
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
    tenant = _tenant_of(key)
    asked = headers.get("anthropic-workspace-id")
    if asked not in (None, workspace_id(tenant)) and choices.wrong_workspace != "ignore":
        raise wrong_workspace(int(choices.wrong_workspace))
    return Caller(tenant, Terms(version, frozenset(betas), headers.get("anthropic-user-profile-id")))


def fingerprint(secret: str) -> str:
    """What is shown in place of a credential: `sha256:` and the first 12 hexadecimal digits."""
    return shown(key_hash(secret))


def shown(digest: str) -> str:
    """The fingerprint that begins a hash: a key's, or a tenant's, which is its key's unless that names a workspace."""
    return f"sha256:{digest[:12]}"


def masked(name: str, value: str) -> str:
    """A header's value, with a credential replaced by its fingerprint (after the scheme, if `Bearer` is the scheme)."""
    if name not in CREDENTIAL_HEADERS:
        return value
    key = _bearer(value)
    return f"Bearer {fingerprint(key)}" if key else fingerprint(value)


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
