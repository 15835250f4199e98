"""A page as small as it goes over the wire, without what only those need who read its source. Pure.

It knows the page's own way of writing, and no more: strings in double quotes, no template within a template, no pattern
with a blank in it, comments on lines of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Frequent names of variables, none of which is a member's in shorthand; each gets a letter, and others have more.
_FREQUENT = (
    *("amount", "answer", "asked", "attributes", "batch", "button", "card", "config", "context", "count", "dollars"),
    *("draw", "each", "failure", "host", "inline", "job", "plain", "soft", "tools"),
)
SHORT: Mapping[str, str] = dict(zip(_FREQUENT, "abcdefgijklmopqstuvw", strict=True))

_LAYOUT = re.compile(r"^ *(?://.*\n)?|^\n", re.MULTILINE)
_STYLE = re.compile(r"(?<=<style>).*?(?=</style>)", re.DOTALL)
_SPACES = re.compile(r"\s*([{};,])\s*|(?<=:) ")
_SCRIPT = re.compile(r"(?<=<script>).*?(?=</script>)", re.DOTALL)
# In a script: a string or a template, which stays; or what is blank beside punctuation, or a block's last semicolon.
_BLANK = re.compile(
    r"""("[^"\n]*"|`[^`]*`)|(?<=[^\w\s$"`])\ + | \ +(?=[^\w\s$"`]) | (?<=[{(\[,;])\n | ;?\n(?=\}) | \n(?=[)\]])""",
    re.VERBOSE,
)
_STRING = r'"[^"\n]*"'
_NAME = rf"(?:(?<=\.\.\.)|(?<![.\w$]))(?:{'|'.join(SHORT)}|const)(?![\w$:])"
_NAMES = re.compile(rf"{_STRING}|`[^`]*`|{_NAME}")
_NAMES_IN_VALUE = re.compile(rf"{_STRING}|{_NAME}")
_VALUE = re.compile(r"(?<=\$\{)[^}]*(?=\})")


def minified(page: str) -> str:
    """The page with the same words, and code that does the same."""
    page = _STYLE.sub(lambda style: _SPACES.sub(r"\1", style[0]), _LAYOUT.sub("", page))
    return _SCRIPT.sub(lambda script: _NAMES.sub(_renamed, _BLANK.sub(r"\1", script[0])), page)


def _renamed(found: re.Match[str]) -> str:
    text = found[0]
    if text.startswith("`"):
        return _VALUE.sub(lambda value: _NAMES_IN_VALUE.sub(_renamed, value[0]), text)
    return "let" if text == "const" else SHORT.get(text, text)
