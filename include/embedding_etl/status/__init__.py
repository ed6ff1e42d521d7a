"""The pages: what is in the index, what is not, and why. A FastAPI app that runs in Airflow or alone (`etl ui`)."""
