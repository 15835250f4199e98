"""The JSON Schema of the language accepts what the decoder accepts, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from batches_mcp.core.diagnostics import has_errors
from batches_mcp.core.errors import CapabilityError
from batches_mcp.language.load import load
from batches_mcp.language.schema import schema
from batches_mcp.language.source import parse
from tests.support.capabilities import CONTENTS, FILES, HOSTILE, mutated_trees

CORPUS = Path(__file__).parents[2] / "corpus"
# To JSON Schema 3.0 is an integer; to the decoder, and to whoever writes `port: 3.0`, it is not.
STRICT = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)
VALIDATOR = STRICT(schema())


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("content", CONTENTS, ids=[file.stem for file in FILES])
def test_good_files_fit(content: bytes) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(parse(content, "f.yaml").root.plain())] == []


def shape(content: bytes) -> tuple[bool, Any] | None:
    """Whether the decoder takes a file's shape, and the file as data; None when its YAML is what is wrong with it."""
    try:
        source = parse(content, "f.yaml")
    except CapabilityError:
        return None
    return None if source.problems else (not has_errors(load(source).problems), source.root.plain())


BROKEN = [
    file for file in sorted((CORPUS / "invalid").glob("*.yaml")) if (shape(file.read_bytes()) or [True])[0] is False
]


def test_there_are_files_of_a_wrong_shape() -> None:
    assert len(BROKEN) >= 20


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_files_of_a_wrong_shape_do_not_fit(file: Path) -> None:
    assert not VALIDATOR.is_valid(parse(file.read_bytes(), file.name).root.plain())


@HOSTILE
@given(mutated_trees())
def test_the_schema_and_the_decoder_agree(content: bytes) -> None:
    found = shape(content)
    if found is not None:
        fits, data = found
        assert VALIDATOR.is_valid(data) is fits
