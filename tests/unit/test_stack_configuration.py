"""Generated secrets: made once, private, kept over every restart; addresses follow the ports."""

import re

import pytest

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.places import Places
from include.local_stack.configuration import DEMO_KEYS, configure
from include.local_stack.env_file import read_env_file
from tests.fixtures_stack import stack_environment


def test_demo_env_has_every_key_and_only_its_owner_reads_it(tmp_path):
    configuration = configure(stack_environment(tmp_path))
    written = configuration.paths.env_file
    assert set(DEMO_KEYS) <= set(read_env_file(written))
    assert all(read_env_file(written).values())
    for file in (written, configuration.paths.airflow_keys_file):
        assert file.stat().st_mode & 0o777 == 0o600


def test_secrets_are_kept_and_addresses_follow_the_ports(tmp_path):
    environment = stack_environment(tmp_path)
    first = configure(environment)
    second = configure({**environment, "ETL_S3_PORT": "4711"})
    kept = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ETL_AIRFLOW_PASSWORD")
    assert [first.demo[key] for key in kept] == [second.demo[key] for key in kept]
    assert first.airflow_keys == second.airflow_keys
    assert second.demo["ETL_S3_ENDPOINT"] == "http://127.0.0.1:4711"


def test_two_stacks_have_no_secret_in_common(tmp_path):
    first, second = (configure(stack_environment(tmp_path / name)) for name in ("one", "two"))
    secrets = [
        {*stack.airflow_keys.values(), *(value for key, value in stack.demo.items() if re.search("KEY|PASSWORD", key))}
        for stack in (first, second)
    ]
    assert not secrets[0] & secrets[1]


def test_a_file_that_others_could_read_is_closed_again(tmp_path):
    environment = stack_environment(tmp_path)
    file = configure(environment).paths.env_file
    file.chmod(0o644)
    configure(environment)
    assert file.stat().st_mode & 0o777 == 0o600


def test_lines_that_a_person_added_stay(tmp_path):
    environment = stack_environment(tmp_path)
    file = configure(environment).paths.env_file
    with file.open("a") as added:
        added.write("MY_OWN=1\n")
    assert configure(environment).demo["MY_OWN"] == "1"
    assert "MY_OWN=1" in file.read_text()


def test_a_damaged_file_is_named_with_its_line(tmp_path):
    environment = stack_environment(tmp_path)
    file = configure(environment).paths.env_file
    file.write_text("ETL_BUCKET=demo\nnonsense\n")
    with pytest.raises(ConfigError, match=r"demo\.env: line 2: expected KEY=VALUE"):
        configure(environment)


def test_settings_read_demo_env(tmp_path):
    configuration = configure(stack_environment(tmp_path))
    places = Places(_env_file=configuration.paths.env_file)
    assert places.milvus_uri == configuration.demo["ETL_MILVUS_URI"]
    assert places.ledger_url.get_secret_value() == configuration.demo["ETL_LEDGER_URL"]
    assert places.aws_secret_access_key.get_secret_value() == configuration.demo["AWS_SECRET_ACCESS_KEY"]
