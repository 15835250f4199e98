"""docs/jobs.md takes a stranger from two tables to answers, with two workers of which one is killed: as it stands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from batches_mcp.core.settings import DATABASE_URL
from tests.support.parquet import read
from tests.support.postgres import fresh_schema, url_of
from tests.support.servers import ROOT, environment

PAGE = ROOT / "docs" / "jobs.md"


@pytest.mark.shared
def test_the_page_of_jobs_leads_to_answers(postgres: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    # What is installed, with less patience for a worker that is lost.
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, words in (("batches-mcp", "-m tests.support.job_process 100000 -"), ("python", "")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    script = "set -em\n" + "\n".join(blocks).replace("8080", str(port))
    values = environment(
        None,
        PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=str(ROOT),
        **{DATABASE_URL: url_of(postgres, fresh_schema(postgres))},
    )
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=values,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=110)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    assert "2,000 rows of 2 tables in 8 batches." in said
    assert "was done before; nothing is sent" in said
    answers = [row for path in sorted((tmp_path / "trial" / "answers").glob("part-*.parquet")) for row in read(path)]
    assert [row["ticket"] for row in answers] == [*range(1000)] * 2
    assert all(row["answer"].endswith(row["body"]) for row in answers)
