"""The text of expressions. What they find is shown on real servers, in tests/contract/test_vector_store.py."""

import pytest

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.vectorstore.filters import ALLOWED_FIELDS, all_of, any_of, equals, in_list, parse_filter


def test_values_are_quoted_and_escaped() -> None:
    assert equals("object_key", 'a"b\\c\nd\re\tf') == r'object_key == "a\"b\\c\nd\re\tf"'
    assert equals("object_key", "it's \x01 é") == 'object_key == "it\'s \x01 é"'
    assert equals("ordinal", 3) == "ordinal == 3"
    assert equals('meta.a"]', "x") == r'meta["a\"]"] == "x"'


def test_lists_and_combinations() -> None:
    assert in_list("media_type", ["a", 'b"']) == r'media_type in ["a", "b\""]'
    assert in_list("meta.k", ["a", "b"]) == '(meta["k"] == "a") or (meta["k"] == "b")'
    assert all_of(["a == 1", "", "b == 2"]) == "(a == 1) and (b == 2)"
    assert any_of(["a == 1"]) == "a == 1"
    assert all_of([]) == ""
    assert any_of([]) == in_list("object_key", []) == 'id == ""'


@pytest.mark.parametrize("field", ["colour", "vector", "meta", "meta.", "", "object_key == 1 or id", 'meta["k"]'])
def test_an_unknown_field_is_refused_with_the_allowed_ones(field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        equals(field, "x")
    assert ", ".join(ALLOWED_FIELDS) in str(raised.value)


@pytest.mark.parametrize(("field", "value"), [("ordinal", "1"), ("object_key", 1), ("ordinal", True), ("meta.k", 1)])
def test_a_value_of_another_kind_is_refused(field: str, value: str | int) -> None:
    with pytest.raises(ConfigError, match=field):
        equals(field, value)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        equals("object_key", "\ud83d")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("", ""),
        ("media_type=image/png", 'media_type == "image/png"'),
        (
            " media_type = image/png , meta.author=Ann Lee ",
            '(media_type == "image/png") and (meta["author"] == "Ann Lee")',
        ),
        ("ordinal=3,", "ordinal == 3"),
        ("meta.author=O'Brien", 'meta["author"] == "O\'Brien"'),
        ("object_key=a=b", 'object_key == "a=b"'),
        ('object_key="a, b.txt"', 'object_key == "a, b.txt"'),
        ("object_key=a\\b#c", r'object_key == "a\\b#c"'),
        ("text=", 'text == ""'),
    ],
)
def test_what_people_type_is_understood(text: str, expression: str) -> None:
    assert parse_filter(text) == expression


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("media_type", "expected field=value"),
        ("=x", "expected field=value"),
        ("colour=red", "cannot filter by 'colour'; allowed are id, object_key"),
        ("media_type=a, auther=Ann", "cannot filter by 'auther'"),
        ("ordinal=three", "ordinal is a whole number, not 'three'"),
        ('object_key="a', "is not closed"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_filter(text)
    assert says in str(raised.value)
