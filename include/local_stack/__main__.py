"""`python -m include.local_stack`: the embedded stack's commands."""

from include.local_stack.commands import run_command
from include.local_stack.configuration import configure
from include.local_stack.embedded import embedded_stack

if __name__ == "__main__":
    run_command("The embedded stack: S3, Milvus and Airflow on this machine.", lambda: embedded_stack(configure()))
