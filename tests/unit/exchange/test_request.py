"""Building requests: every value stays in the place the plan gives it, and arrives as it was."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from batches_mcp.core.errors import CallError, InvalidArguments, MissingVariable
from batches_mcp.core.plan import Argument, BasicCredential, Feed, JsonTemplate, Place, RequestPlan, Template, Variable
from batches_mcp.exchange.request import Request, build
from tests.unit.plans import ORIGIN, argument, feed, request_plan, variable

any_text = st.text(min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)

ITEM = request_plan(path=("/shops/", feed(Place.PATH, "shop"), "/items/", feed(Place.PATH, "item"), "/price"))


def sent(plan: RequestPlan, arguments: dict[str, Any] | None = None, **variables: str) -> Request:
    return build(plan, arguments or {}, {name: SecretStr(value) for name, value in variables.items()})


def headers_of(request: Request) -> dict[str, str]:
    names = [name.lower() for name, _ in request.headers]
    assert len(set(names)) == len(names), "a header is sent once"
    return {name.lower(): value for name, value in request.headers}


def body_of(request: Request) -> Any:
    assert isinstance(request.body, bytes)
    return json.loads(request.body)


# Path


@given(any_text, any_text)
def test_no_text_changes_the_segments_of_a_path(shop: str, item: str) -> None:
    url = sent(ITEM, {"shop": shop, "item": item}).url
    assert url.startswith(f"{ORIGIN}/v1/")
    assert url.isascii()
    assert urlsplit(url).query == urlsplit(url).fragment == ""
    segments = urlsplit(url).path.split("/")
    assert [unquote(segment) for segment in segments] == ["", "v1", "shops", shop, "items", item, "price"]
    assert "." not in segments[3] + segments[5]


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a/b", "a%2Fb"),
        ("%2e%2E", "%252e%252E"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\\b", "a%5Cb"),
        ("a;b=c", "a%3Bb%3Dc"),
        ("a b", "a%20b"),
        ("批", "%E6%89%B9"),
        ("a\r\nb", "a%0D%0Ab"),
        ("\x00", "%00"),
        ("{{env.KEY}}", "%7B%7Benv%2EKEY%7D%7D"),
        (7, "7"),
        (True, "true"),
    ],
)
def test_a_value_in_a_path_is_encoded_in_full(value: Any, segment: str) -> None:
    assert sent(ITEM, {"shop": "s", "item": value}).url == f"{ORIGIN}/v1/shops/s/items/{segment}/price"


@pytest.mark.parametrize("arguments", [{"shop": "s"}, {"shop": "s", "item": None}, {"shop": "s", "item": ""}])
def test_a_path_without_a_value_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments, match=r"item: expected text for the path of the request, found nothing\."):
        sent(ITEM, arguments)


@pytest.mark.parametrize("value", [[1], {"a": 1}, []])
def test_a_path_takes_no_list_and_no_object(value: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"item: .* found a list or an object"):
        sent(ITEM, {"shop": "s", "item": value})


def test_an_error_names_the_argument_and_not_the_path_variable() -> None:
    plan = request_plan(path=("/items/", feed(Place.PATH, "item_id", argument("itemId"))))
    with pytest.raises(InvalidArguments, match=r"\bitemId: "):
        sent(plan)


# Query


@given(st.lists(st.text(), min_size=1))
def test_a_query_holds_each_value_of_a_list(values: list[str]) -> None:
    url = sent(request_plan(feed(Place.QUERY, "x y")), {"x y": values}).url
    assert parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True) == [("x y", v) for v in values]


@pytest.mark.parametrize(
    ("value", "query"),
    [("", "?x="), ("a&b=c+d", "?x=a%26b%3Dc%2Bd"), (1.5, "?x=1.5"), (False, "?x=false"), ([], ""), (None, "")],
)
def test_a_value_in_a_query(value: Any, query: str) -> None:
    assert sent(request_plan(feed(Place.QUERY)), {"x": value}).url == f"{ORIGIN}/v1/items{query}"


def test_a_query_takes_no_object() -> None:
    with pytest.raises(InvalidArguments, match="x: an object cannot stand in a query"):
        sent(request_plan(feed(Place.QUERY)), {"x": {"a": 1}})


# Headers and cookies


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_printable_text_goes_into_a_header_as_it_is(value: str) -> None:
    assert headers_of(sent(request_plan(feed(Place.HEADER)), {"x": value})) == {"x": value.strip()}


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "\x7f", "é", "批", "a\x0bb", "\u2028"])
@pytest.mark.parametrize("place", [Place.HEADER, Place.COOKIE])
def test_a_header_takes_no_line_breaks_and_nothing_beyond_ascii(place: Place, value: str) -> None:
    with pytest.raises(InvalidArguments, match="x: a header takes printable ASCII only"):
        sent(request_plan(feed(place)), {"x": value})


def test_a_list_in_a_header_is_joined_and_an_object_refused() -> None:
    plan = request_plan(feed(Place.HEADER))
    assert headers_of(sent(plan, {"x": ["a", 1, True]})) == {"x": "a,1,true"}
    with pytest.raises(InvalidArguments, match="x: an object cannot stand in a header"):
        sent(plan, {"x": {}})


def test_cookies_share_one_header_and_cannot_add_another() -> None:
    plan = request_plan(feed(Place.COOKIE, "a"), feed(Place.COOKIE, "b"), feed(Place.COOKIE, "c"))
    assert headers_of(sent(plan, {"a": "1; admin=1", "b": "x"})) == {"cookie": "a=1%3B%20admin%3D1; b=x"}


# Bodies


@given(json_values.filter(lambda value: value is not None))
def test_a_whole_body_is_the_argument(value: Any) -> None:
    request = sent(request_plan(feed(Place.BODY, "body"), method="POST"), {"body": value})
    assert body_of(request) == value
    assert headers_of(request) == {"content-type": "application/json"}


def test_a_body_is_compact_utf_8() -> None:
    request = sent(request_plan(feed(Place.BODY, "body"), method="POST"), {"body": {"ü": [1, 2.0, "\u2028\n"]}})
    assert request.body == '{"ü":[1,2.0,"\u2028\\n"]}'.encode()


def test_a_declared_content_type_wins() -> None:
    content_type = feed(Place.HEADER, "Content-type", Template(("application/merge-patch+json",)))
    request = sent(request_plan(content_type, feed(Place.BODY, "body"), method="PATCH"), {"body": {}})
    assert headers_of(request) == {"content-type": "application/merge-patch+json"}


def test_fields_make_an_object_without_those_left_out() -> None:
    plan = request_plan(*(feed(Place.FIELD, name) for name in "abcd"), method="POST")
    assert body_of(sent(plan, {"a": 0, "b": None, "c": ""})) == {"a": 0, "c": ""}
    assert sent(plan).body is None


def test_a_body_template_keeps_types_and_leaves_out_what_is_not_given() -> None:
    template: JsonTemplate = {
        "whole": argument("list"),
        "text": Template(("Re: ", Argument("subject"))),
        "gone": Template(("Re: ", Argument("nothing"))),
        "list": (argument("nothing"), argument("subject"), Template((None,))),
        "inner": {"gone": argument("nothing")},
        "fixed": Template((3,)),
    }
    request = sent(request_plan(method="POST", body=template), {"list": [1, {"a": None}], "subject": "x"})
    assert body_of(request) == {
        "whole": [1, {"a": None}],
        "text": "Re: x",
        "list": ["x", None],
        "inner": {},
        "fixed": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "body"), [({}, None), ({"x": None}, None), ({"x": {}}, b"{}"), ({"x": []}, b"[]")]
)
def test_a_body_that_is_one_optional_argument(arguments: dict[str, Any], body: bytes | None) -> None:
    assert sent(request_plan(method="POST", body=argument("x")), arguments).body == body


def test_an_empty_body_template_is_sent() -> None:
    assert sent(request_plan(method="POST", body={})).body == b"{}"
    assert sent(request_plan(method="POST", body=())).body == b"[]"
    assert sent(request_plan(method="POST", body=Template((None,)))).body == b"null"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    with pytest.raises(InvalidArguments, match="NaN or an infinite number"):
        sent(request_plan(feed(Place.BODY), method="POST"), {"x": [number]})


@pytest.mark.parametrize("place", [Place.PATH, Place.QUERY, Place.BODY, Place.FIELD])
def test_half_a_surrogate_pair_is_refused(place: Place) -> None:
    path: tuple[str | Feed, ...] = ("/items/", feed(place)) if place is Place.PATH else ("/items",)
    feeds = () if place is Place.PATH else (feed(place),)
    with pytest.raises(InvalidArguments, match="half of a surrogate pair"):
        sent(request_plan(*feeds, path=path, method="POST"), {"x": "a\ud800"})


# Rendering


@pytest.mark.parametrize("text", ["{{KEY}}", "{{env.KEY}}", "tools.x", "$this.m.x", "{x}", "${KEY}", "%s"])
def test_the_text_of_an_argument_is_never_rendered_again(text: str) -> None:
    plan = request_plan(
        feed(Place.QUERY, "q", argument("x")),
        feed(Place.HEADER, "h", Template(("a ", Argument("x")))),
        feed(Place.BODY, "b", argument("x")),
        path=("/", feed(Place.PATH, "x")),
        method="POST",
    )
    request = sent(plan, {"x": text}, KEY="secret")
    assert unquote(urlsplit(request.url).path) == f"/v1/{text}"
    assert parse_qsl(urlsplit(request.url).query) == [("q", text)]
    assert headers_of(request)["h"] == f"a {text}"
    assert body_of(request) == text
    assert "secret" not in f"{request.url}{request.headers}{request.body!r}"


def test_parts_are_joined_as_text_and_all_are_left_out_with_one() -> None:
    plan = request_plan(feed(Place.QUERY, "q", Template(("n=", Argument("n"), ";", Argument("o"), ";", Variable("V")))))
    assert sent(plan, {"n": 1, "o": {"a": [True]}}, V="v").url.endswith("?q=n%3D1%3B%7B%22a%22%3A%5Btrue%5D%7D%3Bv")
    assert sent(plan, {"n": 1}, V="v").url == f"{ORIGIN}/v1/items"


def test_arguments_that_no_place_takes_are_not_sent() -> None:
    assert sent(request_plan(), {"x": "y", "items": "z"}).url == f"{ORIGIN}/v1/items"


# Variables and credentials


def test_a_missing_variable_is_named_and_nothing_is_built() -> None:
    with pytest.raises(MissingVariable) as caught:
        sent(request_plan(feed(Place.HEADER, "h", variable("SHOP"))))
    assert "the environment variable SHOP is not set (or is empty)" in str(caught.value)
    assert "SHOP_FILE" in caught.value.report.next_step


def test_a_default_stands_in_for_a_missing_variable_only() -> None:
    plan = request_plan(feed(Place.HEADER, "h", variable("V"), default="2023-06-01"))
    assert headers_of(sent(plan)) == {"h": "2023-06-01"}
    assert headers_of(sent(plan, V="2024-01-01")) == {"h": "2024-01-01"}


@pytest.mark.parametrize(
    ("credential", "header", "query"),
    [
        (feed(Place.HEADER, "X-Key", variable("K")), {"x-key": "s3cret/+"}, ""),
        (Feed(Place.HEADER, "Authorization", Template(("Bearer ", Variable("K")))), {"authorization": "Bearer s3cret/+"}, ""),
        (feed(Place.QUERY, "key", variable("K")), {}, "?key=s3cret%2F%2B"),
        (
            BasicCredential(Template(("rob",)), variable("K")),
            {"authorization": f"Basic {base64.b64encode(b'rob:s3cret/+').decode()}"},
            "",
        ),
        (None, {}, ""),
    ],
)  # fmt: skip
def test_a_credential_goes_where_the_plan_says(
    credential: Feed | BasicCredential | None, header: dict[str, str], query: str
) -> None:
    request = sent(request_plan(credential=credential), K="s3cret/+")
    assert headers_of(request) == header
    assert request.url == f"{ORIGIN}/v1/items{query}"


def test_a_credential_that_no_header_can_hold_is_named_and_not_shown() -> None:
    with pytest.raises(CallError) as caught:
        sent(request_plan(credential=feed(Place.HEADER, "X-Key", variable("K"))), K="gehéim")
    assert "the value of K has characters that the header X-Key cannot hold" in str(caught.value)
    assert "gehéim" not in str(caught.value)


def test_a_request_prints_neither_its_headers_nor_its_query() -> None:
    plan = request_plan(feed(Place.QUERY), credential=feed(Place.HEADER, "X-Key", variable("K")))
    assert repr(sent(plan, {"x": "private"}, K="s3cret")) == f"Request(GET {ORIGIN}/v1/items)"
