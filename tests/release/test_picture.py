"""The README's picture of a terminal shows what the command prints today."""

from __future__ import annotations

import os

from release.picture import PICTURE, drawn, printed, shown, words


def test_the_picture_shows_what_is_printed() -> None:
    text = printed()
    if os.environ.get("BATCHES_MCP_UPDATE_GOLDEN") and (
        not PICTURE.exists() or words(shown(PICTURE.read_text("utf-8"))) != words(text)
    ):
        PICTURE.write_text(drawn(text), "utf-8")
    assert words(shown(PICTURE.read_text("utf-8"))) == words(text), "run `make golden`"


def test_the_picture_asks_nobody_for_anything() -> None:
    svg = PICTURE.read_text("utf-8")
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert len(svg) < 20_000
