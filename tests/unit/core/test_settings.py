"""The environment and the flags: secrets from variables or files, and nothing served openly by accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from batches_mcp.core.errors import UsageError
from batches_mcp.core.settings import Environment, HttpSettings, default_root, file_roots, packaged
from batches_mcp.core.variables import is_placeholder


def value(environment: Environment, name: str = "KEY") -> str | None:
    secret = environment.secret(name)
    return secret.get_secret_value() if secret else None


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(" from-file\n", encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"KEY": "k"}, "k"), ({"KEY": " k\n"}, "k"), ({"KEY": " "}, None), ({"KEY": ""}, None), ({}, None)],
)
def test_a_secret_from_a_variable_and_empty_counts_as_missing(values: dict[str, str], expected: str | None) -> None:
    assert value(Environment(values)) == expected


def test_a_secret_from_a_file(key_file: Path) -> None:
    warnings: list[str] = []
    assert value(Environment({"KEY_FILE": str(key_file), "KEY": ""}, warnings.append)) == "from-file"
    assert warnings == []


def test_a_file_that_others_may_read_is_a_warning(key_file: Path) -> None:
    warnings: list[str] = []
    key_file.chmod(0o644)
    assert value(Environment({"KEY_FILE": str(key_file)}, warnings.append)) == "from-file"
    assert warnings == [f"KEY_FILE: others may read {key_file}; run: chmod 600 {key_file}"]


def test_a_variable_and_a_file_contradict_each_other(key_file: Path) -> None:
    with pytest.raises(UsageError, match="KEY and KEY_FILE are both set") as caught:
        value(Environment({"KEY": "k-secret", "KEY_FILE": str(key_file)}))
    assert "k-secret" not in str(caught.value)


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"KEY_FILE: cannot read .*nothing: No such file"):
        value(Environment({"KEY_FILE": str(tmp_path / "nothing")}))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match=r"KEY_FILE: .*empty is empty; expected the value of KEY"):
        value(Environment({"KEY_FILE": str(tmp_path / "empty")}))


@pytest.mark.parametrize(
    "text",
    ["${user_config.api_key}", "${VAR:-}", "$NAME", "<your key>", "sk-ant-...", "sk-ant-api03-...", "{env:KEY}", " $NAME\n"],
)  # fmt: skip
def test_a_placeholder_counts_as_missing_and_is_named(text: str) -> None:
    warnings: list[str] = []
    environment = Environment({"KEY": text, "KEY_FILE": text}, warnings.append)
    assert value(environment) is None
    assert (
        warnings[0] == f"KEY holds only the placeholder {text.strip()}, which was not filled in; it counts as missing"
    )
    assert environment.filled() == {}
    assert environment.placeholders(["KEY", "OTHER"]) == {"KEY": text.strip()}


@pytest.mark.parametrize("text", ["sk-ant-api03-abc", "a$NAME", "p${x", "<b", "$5.00", "$", "x...", "{}"])
def test_what_only_resembles_a_placeholder_is_a_value(text: str) -> None:
    assert not is_placeholder(text)


def test_a_file_that_holds_a_placeholder_is_named(key_file: Path) -> None:
    key_file.write_text("<your key>\n")
    with pytest.raises(UsageError, match=r"KEY_FILE: .*key holds only the placeholder <your key>"):
        value(Environment({"KEY_FILE": str(key_file)}))


def test_bound_variables_are_those_with_a_value(key_file: Path) -> None:
    bound = Environment({"A": "1", "B": "", "C_FILE": str(key_file)}).bound(["A", "B", "C", "D"])
    assert {name: secret.get_secret_value() for name, secret in bound.items()} == {"A": "1", "C": "from-file"}


def test_nothing_prints_the_environment() -> None:
    assert "k-secret" not in repr(Environment({"KEY": "k-secret"}))


@pytest.mark.parametrize("settings", [{}, {"host": "::1"}, {"host": "localhost"}])
def test_loopback_needs_no_token(settings: dict[str, str]) -> None:
    assert HttpSettings(**settings).token is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "allowed", "reason"),
    [("0.0.0.0", (), "--host 0.0.0.0"), ("192.0.2.1", (), "--host 192.0.2.1"), ("127.0.0.1", ("h.example",), "--allow-host")],
)  # fmt: skip
def test_whatever_others_can_reach_needs_a_token(host: str, allowed: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        HttpSettings(host, None, allowed)
    assert str(caught.value).startswith(f"{reason} lets others than this machine reach the server")
    assert HttpSettings(host, None, allowed, SecretStr("t")).host == host


def test_the_packaged_file_is_found_in_a_checkout() -> None:
    assert packaged("capability.yaml").is_file()


@pytest.mark.parametrize(
    "folder", ["/", "/etc", "/usr/lib", "/var/lib", "/opt", "/root", "/home", "/home/someone", "/Users/someone"]
)
def test_folders_that_would_open_too_much_are_no_default_root(folder: str) -> None:
    assert file_roots((), Path(folder)) == ()


def test_a_folder_of_ones_own_is_the_default_root_and_given_ones_replace_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert file_roots((), tmp_path) == (tmp_path.resolve(),)
    assert file_roots((), None) == ()
    assert file_roots((tmp_path / "b",), tmp_path) == ((tmp_path / "a").resolve(),)
    assert file_roots((Path("/"),), None) == (Path("/"),)


def test_the_home_itself_is_no_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert file_roots((), tmp_path) == ()
    (tmp_path / "work").mkdir()
    assert file_roots((), tmp_path / "work") == ((tmp_path / "work").resolve(),)


def test_the_hosts_project_is_the_default_root_and_a_plugin_never_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, plugin = tmp_path / "project", tmp_path / "plugin"
    (plugin / "bin").mkdir(parents=True)
    project.mkdir()
    monkeypatch.chdir(plugin / "bin")
    assert default_root(Environment({})) == plugin / "bin"
    assert default_root(Environment({"PLUGIN_ROOT": str(plugin)})) is None
    assert default_root(Environment({"CLAUDE_PLUGIN_ROOT": str(plugin)})) is None
    named = {"PLUGIN_ROOT": str(plugin), "CLAUDE_PROJECT_DIR": str(project)}
    assert default_root(Environment(named)) == project
    assert default_root(Environment({"CLAUDE_PROJECT_DIR": str(plugin), "PLUGIN_ROOT": str(plugin)})) is None
    assert default_root(Environment({"CLAUDE_PROJECT_DIR": str(tmp_path / "gone")})) is None
    assert default_root(Environment({"PLUGIN_ROOT": "${PLUGIN_ROOT}"})) == plugin / "bin"


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone is not a folder"):
        file_roots((tmp_path / "gone",), None)
