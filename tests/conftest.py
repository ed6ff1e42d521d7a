"""Fixtures shared by all suites, one module a topic."""

pytest_plugins: list[str] = [
    "tests.fixtures_airflow",
    "tests.fixtures_ledger",
    "tests.fixtures_media",
    "tests.fixtures_milvus",
    "tests.fixtures_models",
    "tests.fixtures_monitoring",
    "tests.fixtures_pipeline",
    "tests.fixtures_postgresql",
    "tests.fixtures_audit",  # after those that it imports: pytest rewrites their assertions
    "tests.fixtures_scenarios",
    "tests.fixtures_stack",
    "tests.fixtures_status",
    "tests.fixtures_storage",
    "tests.fixtures_events",  # after fixtures_storage, which it imports
]
