"""The teams file: what it means, and that everything that is wrong with it is told at once, each at its place."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.access import file, keys
from batches_mcp.access.principal import ADMIN, READ, WRITE, Caps, Principal
from batches_mcp.core.errors import TeamsError, UnreadableFile
from batches_mcp.core.settings import Environment

HASH, OTHER = keys.hash_of("one"), keys.hash_of("two")


def checked(folder: Path, text: str, **variables: str) -> list[str]:
    path = folder / "teams.yaml"
    path.write_text(dedent(text))
    problems = file.check(path, Environment(variables))
    return [problem.text().removeprefix(f"{path}:") for problem in problems]


def test_a_file_means_teams_keys_and_claims(tmp_path: Path) -> None:
    (tmp_path / "search.key").write_text("sk-ant-search\n")
    (tmp_path / "search.key").chmod(0o600)
    path = tmp_path / "teams.yaml"
    path.write_text(
        dedent(f"""
        teams:
          search: {{api_key_file: search.key, cap_usd: {{day: 200, month: 2000.5}}, approve_over_usd: 50, requests_per_minute: 600}}
          ads: {{api_key_env: ADS_KEY}}
          web:
        keys:
        - {{name: nightly, sha256: {HASH.upper()}, team: search, scopes: [batches:read, batches:write]}}
        claims: {{eng-search: search, eng-web: web}}
        """)
    )
    teams = file.load(path, Environment({"ADS_KEY": "sk-ant-ads"}))
    search = teams.teams["search"]
    assert search.api_key is not None
    assert search.api_key.get_secret_value() == "sk-ant-search"
    assert (search.caps, search.approve_over_usd, search.requests_per_minute) == (Caps(200, 2000.5), 50, 600)
    assert [team.api_key is None for team in teams.teams.values()] == [False, False, True]
    assert {value: team.name for value, team in teams.claims.items()} == {"eng-search": "search", "eng-web": "web"}
    assert keys.holder(teams.keys, "one") == Principal("nightly", "key", search, frozenset({READ, WRITE}))
    assert keys.holder(teams.keys, "two") is None
    assert "sk-ant" not in repr(teams)


_WRITER = f"{{{{name: w, sha256: {HASH}, team: a, scopes: [batches:write{{}}]}}}}"
BAD = [
    (
        f"teams: {{a: {{approve_over_usd: 5}}}}\nkeys: [{_WRITER.format('')}]",
        [
            ("1:31: no-approver: nobody can approve what costs more than `approve_over_usd` of the team `a`; give a key of "
            "the team the scope batches:approve")
        ],
    ),
    (
        f"teams: {{a: {{approve_over_usd: 5}}}}\nkeys: [{_WRITER.format(', batches:approve')}]",
        [
            ("1:31: no-approver: nobody but `w`, who may not approve their own creates, can approve what costs more than "
            "`approve_over_usd` of the team `a`; give a key of the team the scope batches:approve")
        ],
    ),
    (f"teams: {{a: {{approve_over_usd: 5}}}}\nkeys: [{_WRITER.format('')}]\nclaims: {{x: a}}", []),
    ("teams: [a]", ["1:8: wrong-type: `teams`: expected a mapping, found a list"]),
    ("keys: []", ["1:1: missing-key: the file has no `teams`; name at least one team"]),
    ("", ["1:1: wrong-type: the file: expected a mapping, found nothing"]),
    ("teams: {}", ["1:1: missing-key: `teams` names no team"]),
    ("teams: {a b: {}}", ["1:9: name: `a b` cannot be the name of a team; use letters, digits, `.`, `_` and `-`, at most 64"]),
    ("teams: {a: {cap_us: {day: 1}}}", ["1:13: unknown-key: the team `a` has no key `cap_us`; did you mean `cap_usd`?"]),
    ("teams: {a: }\nteam: {}", ["2:1: unknown-key: the file has no key `team`; did you mean `teams`?"]),
    ("teams: {a: {cap_usd: {days: 1}}}", ["1:23: unknown-key: `cap_usd` has no key `days`; did you mean `day`?"]),
    ("teams: {a: {cap_usd: {}}}", ["1:13: missing-key: `cap_usd` has neither `day` nor `month`"]),
    (
        "teams: {a: {api_key: sk-ant-x}}",
        [
            ("1:13: unknown-key: the team `a` has no key `api_key`; a key does not stand in the file; name its variable "
            "(`api_key_env`) or its file (`api_key_file`)")
        ],
    ),
    *(
        (
            f"teams: {{a: {{cap_usd: {{day: {value}}}}}}}",
            [f"1:28: amount: expected US dollars, a finite number above 0, such as 25 or 0.5; found {found}"],
        )
        for value, found in [
            (".inf", "`.inf`"), ("nan", "`nan`"), ("0", "`0`"), ("-1", "`-1`"), ("true", "`True`"), ("", "nothing"),
            ("1e999", "`1e999`"), ("[1]", "a list"),
        ]
    ),
    (
        "teams: {a: {requests_per_minute: 1.5}}",
        ["1:34: requests-per-minute: expected a whole number from 1 to 1,000,000; found `1.5`"],
    ),
    (
        "teams: {a: {api_key_env: NONE}}",
        ["1:26: api-key: the environment variable NONE is not set (or is empty)"],
    ),
    (
        "teams: {a: {api_key_env: SET, api_key_file: gone}}",
        [
            "1:31: two-keys: the team `a` names two API keys; keep one of api_key_env and api_key_file",
            "1:45: api-key: cannot read {folder}/gone: No such file or directory",
        ],
    ),
    (
        f"teams: {{search: }}\nkeys: [{{name: n, sha256: {HASH}, team: serch, scopes: [batches:raed]}}]",
        [
            "2:98: team: there is no team `serch`; did you mean `search`?",
            "2:114: scope: there is no scope `batches:raed`; did you mean `batches:read`?",
        ],
    ),
    (
        (f"teams: {{a: }}\nkeys:\n- {{name: n, sha256: {HASH}, team: a, scopes: [{READ}]}}\n"
        f"- {{name: n, sha256: {HASH.upper()}, team: a, scopes: [{ADMIN}]}}"),
        [
            "4:10: duplicate: the name `n` is given to two keys; the first stands in line 3",
            "4:21: duplicate: two keys have the same hash, and so are one key; the first stands in line 3",
        ],
    ),
    (
        "teams: {a: }\nkeys: [{name: n, sha256: bmk-the-key-itself, team: a, scopes: []}]",
        [
            ("2:26: sha256: expected 64 hexadecimal digits, found 18 characters; `batches-mcp teams key` prints a key and "
            "its hash"),
            "2:63: scope: `scopes` is empty, so that the key opens nothing",
        ],
    ),
    (
        f"teams: {{a: }}\nkeys: [{{name: n, sha256: {'1' * 64}, team: a, scopes: [{READ}]}}]",
        ["2:26: sha256: the hash is read as a number; put it in quotes"],
    ),
    (
        f"teams: {{a: }}\nkeys: [{{name: n, sha256: {keys.hash_of('')}, team: a, scopes: [{READ}]}}]",
        ["2:26: sha256: this is the hash of an empty key, which anybody has"],
    ),
    (
        "teams: {a: }\nkeys: [{name: n}]",
        [f"2:8: missing-key: a key has no `{name}`; `batches-mcp teams key NAME --team T` prints a whole line"
         for name in ("scopes", "sha256", "team")],
    ),
    ("teams: {a: }\nclaims: {x: b}", ["2:13: team: there is no team `b`; known here: `a`"]),
    ("teams: {a: , a: }", ["1:14: duplicate-key: key `a` is given twice; it stands first in line 1; remove one of the two"]),
    ("teams: {a: {}", ["1:14: not-yaml: while parsing a flow mapping, did not find expected ',' or '}'"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text[:40] for text, _ in BAD])
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert checked(tmp_path, text, SET="sk-ant-set") == [each.replace("{folder}", str(tmp_path)) for each in expected]


def test_a_file_with_errors_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "teams.yaml"
    path.write_text("teams: {a: {cap_usd: {day: .inf}}}")
    with pytest.raises(TeamsError, match="amount"):
        file.load(path, Environment({}))
    with pytest.raises(UnreadableFile, match="cannot read the teams file"):
        file.load(tmp_path / "none.yaml", Environment({}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([READ, HASH, "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["teams", "keys", "claims", "a", "cap_usd", "day", "name", "sha256", "team", "scopes", "api_key_env"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(value=JSON)
def test_whatever_stands_in_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    import json

    path = tmp_path_factory.getbasetemp() / "hostile.yaml"
    path.write_text(json.dumps(value))
    problems = file.check(path, Environment({}))
    for problem in problems:
        assert problem.line >= 1
        assert problem.code
    if not problems:
        assert file.load(path, Environment({})).teams


@given(key=st.text(max_size=50), given=st.text(max_size=50))
def test_a_key_opens_only_with_itself(key: str, given: str) -> None:
    from batches_mcp.access.principal import Team

    named = keys.NamedKey("n", keys.hash_of(key), Team("t"), frozenset({READ}))
    assert (keys.holder([named], given) is not None) == (key == given)
