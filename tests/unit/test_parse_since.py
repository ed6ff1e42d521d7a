"""What people may write as a point in time."""

import pytest

from include.embedding_etl.dead_letters import parse_since
from include.embedding_etl.errors import ConfigError

NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("", None),
        ("2026-11-22T12:00:00Z", NOON_MS),
        ("2026-11-22T12:00", NOON_MS),  # without a zone: UTC
        ("2026-11-22 13:00:00+01:00", NOON_MS),
        ("2026-11-22T12:00:00.000000+00:00", NOON_MS),  # as Airflow's form sends it
        ("2026-11-22", NOON_MS - 12 * 3_600_000),
        ("1795348800", NOON_MS),
        ("1795348800000", NOON_MS),
        ("20261122", NOON_MS - 12 * 3_600_000),  # a date, not seconds of 1970
    ],
)
def test_a_time_is_iso_or_epoch(text: str, epoch_ms: int | None) -> None:
    assert parse_since(text) == epoch_ms


@pytest.mark.parametrize("text", ["yesterday", "22.11.2026", "-5", "12:00", "9" * 20])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no time; allowed are 2026-11-22"):
        parse_since(text)
