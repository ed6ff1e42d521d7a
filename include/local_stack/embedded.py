"""The embedded stack: SeaweedFS, Milvus Lite and Airflow on SQLite. Nothing but Python packages."""

from functools import partial

from include.local_stack.airflow import airflow_components, prepare_airflow
from include.local_stack.configuration import StackConfiguration
from include.local_stack.milvus import milvus_component
from include.local_stack.seaweed import remove_sockets, seaweed_component
from include.local_stack.stack import Group, Stack

POOLS = {
    "etl_embed": (2, "embedding tasks: each loads a model and uses the processor's cores"),
    "etl_sync": (1, "tasks that write to Milvus Lite, one at a time"),
}


def embedded_stack(configuration: StackConfiguration) -> Stack:
    """What `make demo` starts."""
    return Stack(
        title="S3, Milvus and Airflow",
        hint="Try: .venv/bin/etl search demo --text 'how does bread rise'",
        status_command="make status",
        down_command="make down",
        configuration=configuration,
        stores=Group((seaweed_component(configuration), milvus_component(configuration))),
        airflow=Group(tuple(airflow_components(configuration)), lambda _: prepare_airflow(configuration)),
        pools=POOLS,
        clean_up=partial(remove_sockets, configuration),
    )
