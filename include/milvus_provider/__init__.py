"""Milvus for Apache Airflow: connection type, hook, operators and sensor. Knows nothing of this project."""
