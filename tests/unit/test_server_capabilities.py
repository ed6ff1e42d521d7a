"""What servers say of themselves at the connect, and what follows from it."""

import pytest

from include.embedding_etl.vectorstore.capabilities import is_plain, read_capabilities

CLOUD = "Zilliz Cloud Vector Database(Compatible with Milvus 2.6)"


@pytest.mark.parametrize(
    ("version", "description", "product", "line", "bulk_import"),
    [
        ("milvus_lite-3.2.2", "", "lite", None, False),
        ("v2.3.5-lite", "", "server", (2, 3), True),  # the server's package of PyPI, not Milvus Lite
        ("v2.2.16", "", "server", (2, 2), False),
        ("2.4.23", "", "server", (2, 4), True),
        ("2.5.27-gpu", "", "server", (2, 5), True),
        ("v2.6.10", "", "server", (2, 6), True),
        ("2.6-20260404-31fb3fc", "", "server", (2, 6), True),
        ("unknown-20260608-7ea6e3526", CLOUD, "cloud", (2, 6), False),
        (CLOUD, CLOUD, "cloud", (2, 6), False),
        ("master-abcdef", "", "server", None, False),
        ("", "", "server", None, False),
    ],
)
def test_product_line_and_bulk_import_follow_from_what_the_server_says(
    version: str, description: str, product: str, line: tuple[int, int] | None, bulk_import: bool
) -> None:
    found = read_capabilities(version, description)
    assert (found.product, found.line, found.bulk_import) == (product, line, bulk_import)


def test_the_description_is_shown_where_the_version_says_nothing() -> None:
    assert read_capabilities("unknown-20260608-7ea6e3526", CLOUD).version == CLOUD
    assert read_capabilities("v2.6.10", "v2.6.10").version == "v2.6.10"


@pytest.mark.parametrize(
    ("version", "plain"),
    [("v2.3.5-lite", True), ("milvus_lite-3.2.2", True), ("unknown-20260608-7ea6e3526", False), ("", False)],
)
def test_a_server_is_asked_for_its_description_only_where_its_version_says_nothing(version: str, plain: bool) -> None:
    assert is_plain(version) == plain


def test_a_version_with_known_holes_carries_its_warning() -> None:
    assert "2.6.10" in read_capabilities("v2.6.9").warning
    assert read_capabilities("v2.6.10").warning == ""
    assert read_capabilities("unknown-20260608-7ea6e3526", CLOUD).warning == ""
