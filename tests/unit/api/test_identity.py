"""An account is a workspace that the API names, or who the operator says it is, or a credential at an origin."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.api.identity import Accounts, NameFiles
from batches_mcp.core.errors import MissingVariable
from batches_mcp.core.plan import RequestPlan
from batches_mcp.core.state import StateFolder
from batches_mcp.language.compile import compile_server
from tests.support.servers import CAPABILITY


def no_ledger(_: str) -> bool:
    return False


def plans(base_url: str = "http://127.0.0.1:1") -> list[RequestPlan]:
    return [tool.request for tool in compile_server(language.read(CAPABILITY), base_url).tools]


def accounts(folder: Path, key: str = "sk", named: str | None = None) -> Accounts:
    return Accounts(NameFiles(StateFolder(folder)), {"ANTHROPIC_API_KEY": SecretStr(key)}, named)


def workspace(name: str) -> dict[str, str]:
    return {"anthropic-workspace-id": name}


def test_a_credential_at_an_origin(tmp_path: Path) -> None:
    plan, other_origin = plans()[0], plans("http://127.0.0.1:2")[0]
    own = accounts(tmp_path).name_of(plan)
    assert own != accounts(tmp_path).name_of(other_origin)
    assert own != accounts(tmp_path, "other").name_of(plan)
    assert {accounts(tmp_path).name_of(each) for each in plans()} == {own}
    with pytest.raises(MissingVariable):
        Accounts(NameFiles(StateFolder(tmp_path)), {}).name_of(plan)


def test_a_workspace_has_one_account_whatever_its_keys(tmp_path: Path) -> None:
    plan, first, second = plans()[0], accounts(tmp_path, "one"), accounts(tmp_path, "two")
    own = first.name_of(plan)
    for each in (first, second):
        assert not each.is_known(plan)
        each.learn(plan, workspace("w"), no_ledger)
        assert each.is_known(plan)
        assert each.name_of(plan) == own
    assert accounts(tmp_path, "two").name_of(plan) == own  # remembered
    elsewhere = plans("http://127.0.0.1:2")[0]
    second.learn(elsewhere, workspace("w"), no_ledger)
    assert second.name_of(elsewhere) != own  # a sandbox has workspaces of its own
    third = accounts(tmp_path, "three")
    third.learn(plan, workspace("another"), no_ledger)
    assert third.name_of(plan) != own


def test_what_two_keys_have_kept_before_stays_theirs(tmp_path: Path) -> None:
    plan, first, second = plans()[0], accounts(tmp_path, "one"), accounts(tmp_path, "two")
    names = [each.name_of(plan) for each in (first, second)]
    for each in (first, second):
        each.learn(plan, workspace("w"), names.__contains__)
    assert [each.name_of(plan) for each in (first, second)] == names


def test_the_operator_has_the_last_word(tmp_path: Path) -> None:
    plan, named = plans()[0], accounts(tmp_path, named="ours")
    assert named.is_known(plan)
    name = named.name_of(plan)
    named.learn(plan, workspace("w"), no_ledger)
    assert named.name_of(plan) == name == accounts(tmp_path, "two", "ours").name_of(plan)
    assert not (tmp_path / "accounts").exists()


@pytest.mark.parametrize("damage", ["", "../../etc", "\N{SNOWMAN}"])
def test_a_damaged_memory_is_none(damage: str, tmp_path: Path) -> None:
    plan = plans()[0]
    own = accounts(tmp_path).name_of(plan)
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / own).write_text(damage, "utf-8")
    assert accounts(tmp_path).name_of(plan) == own
    assert not accounts(tmp_path).is_known(plan)
