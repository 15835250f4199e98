"""`teams`: checking a file of teams, and making keys for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from batches_mcp.access import keys
from tests.support.servers import command, environment


def teams(*arguments: str, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command("teams", *arguments), env=environment(None, **env), capture_output=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_key_is_made_and_its_line_fits_the_file(tmp_path: Path) -> None:
    code, out, err = teams("key", "nightly", "--team", "search", "--scope", "batches:read")
    key, line = out.splitlines()
    assert code == 0
    assert re.fullmatch(r"bmk-[A-Za-z0-9_-]{43}", key)
    assert key not in line + err
    assert line == (f"- {{name: 'nightly', sha256: '{keys.hash_of(key)}', team: 'search', scopes: [batches:read]}}")
    path = tmp_path / "teams.yaml"
    path.write_text(f"teams: {{search: {{}}}}\nkeys:\n{line}\n")
    assert teams("check", str(path)) == (0, f"{path}: 0 errors\n", "")
    assert teams("key", "nightly", "--team", "search")[1].splitlines()[0] != key


def test_a_check_prints_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "teams.yaml"
    path.write_text("teams:\n  search: {cap_us: {day: 1}, api_key_env: NO_SUCH_KEY}\nclaims: {x: serch}\n")
    code, out, _ = teams("check", str(path))
    assert code == 1
    assert out.splitlines() == [
        f"{path}:2:12: unknown-key: the team `search` has no key `cap_us`; did you mean `cap_usd`?",
        f"{path}:2:43: api-key: the environment variable NO_SUCH_KEY is not set (or is empty)",
        f"{path}:3:13: team: there is no team `serch`; did you mean `search`?",
        f"{path}: 3 errors",
    ]
    assert teams("check", str(path), "--json")[1].count('"code"') == 3


def test_what_is_no_file_or_name_is_said() -> None:
    assert teams("check", "none.yaml")[0] == 2
    code, _, err = teams("key", "a b", "--team", "search")
    assert (code, "'a b' is not a valid name" in err) == (2, True)
    assert teams("key", "n", "--team", "t", "--scope", "batches:all")[0] == 2
