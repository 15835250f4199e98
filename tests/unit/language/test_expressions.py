"""References and templates: what a text of the file means, and that it means one thing only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.plan import Argument, Template, Variable
from batches_mcp.language.expressions import (
    Binds,
    ExpressionError,
    looks_like_reference,
    path_parts,
    template,
    with_value,
)

BINDS = Binds(
    {
        "env": {"KEY": Variable("THE_KEY"), "HOST": Variable("THE_HOST"), "PORT": Variable("THE_PORT")},
        "more": {"KEY": Variable("OTHER_KEY"), "EXTRA": Variable("EXTRA"), "PORT": Variable("THE_PORT")},
    }
)
SCOPES = ("shop-mcp", "tools")

braced = st.text("{} ab.KEY_*-env\n", max_size=40)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("",)),
        ("plain", ("plain",)),
        ("{ not } a reference", ("{ not } a reference",)),
        ("{{id}}", (Argument("id"),)),
        ("{{ id }}", (Argument("id"),)),
        ("{{undeclared}}", (Argument("undeclared"),)),
        ("{{$filter}}{{page[size]}}", (Argument("$filter"), Argument("page[size]"))),
        ("{{env.KEY}}", (Variable("THE_KEY"),)),
        ("{{more.KEY}}", (Variable("OTHER_KEY"),)),
        # Bound in both to the same: there is nothing to choose.
        ("{{PORT}}", (Variable("THE_PORT"),)),
        ("{{EXTRA}}", (Variable("EXTRA"),)),
        ("{{HOST}}", (Argument("HOST"),)),
        ("a {{id}}{{env.KEY}} z", ("a ", Argument("id"), Variable("THE_KEY"), " z")),
    ],
)
def test_a_template_is_read_in_order(text: str, parts: tuple[object, ...]) -> None:
    # An argument that is declared wins over a bound variable of the same name.
    assert template(text, BINDS, {"id", "HOST"}) == Template(parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{env.KYE}}", "`{{env.KYE}}` names nothing that is bound", "did you mean `env.KEY`?"),
        ("{{KYE}}", "`{{KYE}}` names nothing that is bound", ""),
        ("{{other.KEY}}", "`{{other.KEY}}` names nothing that is bound", ""),
        ("{{KEY}}", "`{{KEY}}` is bound in `env` and `more`", "say which: {{env.KEY}} or {{more.KEY}}"),
        ("{{a b}}", "`{{a b}}` is not a reference", "write a reference as {{name}}"),
        ("{{}}", "`{{}}` is not a reference", "write a reference as {{name}}"),
        ("{{id", "`{{id` has braces that are not a reference", "write a reference as {{name}}"),
        ("id}}", "`id}}` has braces that are not a reference", "write a reference as {{name}}"),
        ("{{#each}}", "`{{#each}}` is not a reference", "write a reference as {{name}}"),
    ],
)
def test_a_template_that_cannot_be_read_says_why(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        template(text, BINDS, {"id"})
    assert str(caught.value) == message
    assert hint in caught.value.hint


def test_no_argument_is_taken_where_none_may_be_used() -> None:
    assert template("{{env.KEY}}", BINDS, None) == Template((Variable("THE_KEY"),))
    with pytest.raises(ExpressionError, match=r"`\{\{id\}\}` would be an argument, and none may be used here"):
        template("{{id}}", BINDS, None)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("shop-mcp.id", (Argument("id"),)),
        ("tools.id", (Argument("id"),)),
        ("tools.new", (Argument("new"),)),
        ("$this.shop-mcp.id", (Argument("id"),)),
        ("$this.tools.id", ("$this.tools.id",)),
        ("rest.id", ("rest.id",)),
        ("tools.id.more", (Argument("id.more"),)),
        ("tools.$orderby", (Argument("$orderby"),)),
        ("tools.page[size]", (Argument("page[size]"),)),
        ("shop-mcp.filter[user.name]", (Argument("filter[user.name]"),)),
        ("tools.@odata.type", (Argument("@odata.type"),)),
        ("tools.created<", (Argument("created<"),)),
        ("tools.display name", (Argument("display name"),)),
        ("tools.", ("tools.",)),
        ("toolsy.id", ("toolsy.id",)),
        ("x tools.id", ("x tools.id",)),
        ("{{id}}", (Argument("id"),)),
        ("v{{EXTRA}}", ("v", Variable("EXTRA"))),
        (3, (3,)),
        (True, (True,)),
        (0.5, (0.5,)),
    ],
)
def test_a_value_of_with(value: str | float | bool, parts: tuple[object, ...]) -> None:
    assert with_value(value, BINDS, {"id"}, SCOPES) == Template(parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "suspicious"),
    [
        ("tool.id", True),
        ("$this.other.id", True),
        ("example.com", True),
        ("rest.$orderby", True),
        ("$this.other.page[size]", True),
        ("2.10", False),
        ("1.2", False),
        ("two words", False),
        ("plain", False),
        (3, False),
        (True, False),
    ],
)
def test_a_literal_that_may_have_been_meant_as_a_reference(value: object, suspicious: bool) -> None:
    assert looks_like_reference(value) is suspicious


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/items", ["/items"]),
        ("/items/{id}", ["/items/", Argument("id")]),
        ("/items/{{id}}/x", ["/items/", Argument("id"), "/x"]),
        ("/{a}{{ b }}", ["/", Argument("a"), Argument("b")]),
        ("/{message-batch-id}", ["/", Argument("message-batch-id")]),
        ("/{{env.KEY}}/{id}", ["/", Variable("THE_KEY"), "/", Argument("id")]),
        ("/{EXTRA}/{HOST}", ["/", Variable("EXTRA"), "/", Argument("HOST")]),
        ("/{resource.name}", ["/", Argument("resource.name")]),
        ("/{$part}/{a:b}", ["/", Argument("$part"), "/", Argument("a:b")]),
        ("", []),
    ],
)
def test_a_path_is_split_at_its_variables(path: str, parts: list[object]) -> None:
    assert path_parts(path, BINDS, {"id", "HOST"}) == parts


def test_in_an_exposed_path_every_variable_is_an_argument() -> None:
    assert path_parts("/{{KEY}}/{env.KEY}", None, ()) == ["/", Argument("KEY"), "/", Argument("env.KEY")]


@pytest.mark.parametrize("path", ["/{id", "/id}", "/{}", "/{{}}", "/{a b}", "/{{{id}}}", "/{{env.NOPE}}", "/{{NOPE}}"])
def test_a_path_with_other_braces_or_unbound_variables_is_refused(path: str) -> None:
    with pytest.raises(ExpressionError):
        path_parts(path, BINDS, {"id"})


@given(braced)
def test_what_is_read_is_all_of_the_text(text: str) -> None:
    try:
        read = template(text, BINDS, {"a", "b"})
    except ExpressionError:
        return
    literal = "".join(part for part in read.parts if isinstance(part, str))
    assert "{{" not in literal
    assert "}}" not in literal
    if literal == text:
        assert not read.arguments | read.variables


@given(braced)
def test_a_path_is_read_or_refused(path: str) -> None:
    try:
        parts = path_parts(path, BINDS, {"a", "b"})
    except ExpressionError:
        return
    assert not any("{" in part or "}" in part for part in parts if isinstance(part, str))
