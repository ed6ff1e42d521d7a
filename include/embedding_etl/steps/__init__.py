"""What the DAGs do, as tasks: JSON in, JSON out, a few hundred bytes each. The only package here that knows Airflow.

Heavy imports are inside the functions, so that parsing a DAG costs none of them. Errors keep their class: the retry
policy retries TransientError and nothing that a person has to mend.
"""
