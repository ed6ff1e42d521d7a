"""The production topology without containers: PostgreSQL, Redis, a Milvus server, Airflow with Celery workers."""
