"""Whose account a key belongs to: a workspace for each key, or one that several keys name."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox

Ask = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/batches"
WORKSPACE, ORGANIZATION = "anthropic-workspace-id", "anthropic-organization-id"


def test_every_answer_says_whose_it_is(raw: httpx2.Client, clock: ManualClock, ask: Ask) -> None:
    created = raw.post(PATH, json={"requests": [ask()]})
    path = f"{PATH}/{created.json()['id']}"
    answers = [created, raw.get(path), raw.get(PATH), raw.get(f"{path}/results"), raw.post(f"{path}/cancel")]
    clock.advance(5)
    answers += [raw.get(f"{path}/results"), raw.delete(path), raw.get(path), raw.post(PATH, content=b"{")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 200, 200, 200, 404, 400]
    workspace, organization = created.headers[WORKSPACE], created.headers[ORGANIZATION]
    assert re.fullmatch(r"wrkspc_01[a-zA-Z0-9]{22}", workspace)
    assert str(UUID(organization)) == organization
    assert {(answer.headers[WORKSPACE], answer.headers[ORGANIZATION]) for answer in answers} == {
        (workspace, organization)
    }


@pytest.mark.parametrize("key", ["", "invalid"])
def test_no_account_without_a_key(sandbox: Sandbox, key: str) -> None:
    response = httpx2.get(sandbox.url + PATH, headers={"x-api-key": key, "anthropic-version": "2026-10-21"})
    assert (response.status_code, WORKSPACE in response.headers) == (401, False)


def test_keys_of_one_workspace(raw: httpx2.Client, ask: Ask, api_key: str) -> None:
    one, two, other, own = f"a@{api_key}", f"b@{api_key}", f"a@other-{api_key}", f"{api_key}@"
    created = raw.post(PATH, json={"requests": [ask()]}, headers={"x-api-key": one})
    batch_id = created.json()["id"]
    assert raw.get(f"{PATH}/{batch_id}", headers={"x-api-key": two}).status_code == 200
    assert [each["id"] for each in raw.get(PATH, headers={"x-api-key": two}).json()["data"]] == [batch_id]
    ids = {key: raw.get(PATH, headers={"x-api-key": key}).headers[WORKSPACE] for key in (one, two, other, own, api_key)}
    assert ids[one] == ids[two]
    assert len(set(ids.values())) == 4
    for key in (other, own, api_key):
        assert raw.get(f"{PATH}/{batch_id}", headers={"x-api-key": key}).status_code == 404


def test_a_fault_of_one_key_is_not_its_workspaces(raw: httpx2.Client, sandbox: Sandbox, api_key: str) -> None:
    sandbox.faults.add("overloaded", key=f"a@{api_key}")
    assert raw.get(PATH, headers={"x-api-key": f"b@{api_key}"}).status_code == 200
    assert raw.get(PATH, headers={"x-api-key": f"a@{api_key}"}).status_code == 529


def test_the_control_surface_names_the_workspace(raw: httpx2.Client, sandbox: Sandbox, ask: Ask) -> None:
    created = raw.post(PATH, json={"requests": [ask()]})
    listed = httpx2.get(f"{sandbox.url}/_sandbox/batches").json()["batches"]
    (batch,) = (each for each in listed if each["id"] == created.json()["id"])
    assert batch["workspace_id"] == created.headers[WORKSPACE]


def test_a_workspace_that_is_asked_for_must_be_the_keys(raw: httpx2.Client, refusal: Refusal) -> None:
    own = raw.get(PATH).headers[WORKSPACE]
    assert raw.get(PATH, headers={WORKSPACE: own}).status_code == 200
    status, error_type, message = refusal(raw.get(PATH, headers={WORKSPACE: "wrkspc_other"}))
    assert (status, error_type) == (400, "invalid_request_error")
    assert message.startswith("anthropic-workspace-id: does not match")
