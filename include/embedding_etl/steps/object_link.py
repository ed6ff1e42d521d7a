"""The button of a sync task in Airflow: to what it has made, on the status pages. Imported by DAG files only.

The link belongs to the operators of these tasks, not to a plugin: a plugin's links go by the operator's class, and
would show up at every @task of every DAG. Airflow stores the link as an XCom when the task has ended, so it carries no
key: only the shard, a few characters, which the page resolves.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

PAGE = "/embedding-etl/made"


class ObjectsLink(BaseOperatorLink):
    """To the one object of the shard, or to all that the run has made."""

    name = "Objects in the index"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The link; "" where the task ended before it knew its shard.

        Args:
            operator: With its arguments as the task got them: the pipeline, and what embed returned.
            ti_key: Of the task instance.
        """
        pipeline, embedded = operator.op_args
        if not isinstance(embedded, Mapping):
            return ""
        query = {"pipeline": pipeline, "run": f"{ti_key.dag_id}/{ti_key.run_id}", "shard": embedded["shard"]}
        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return f"{root}{PAGE}?{urlencode(query)}"


def link_objects(synced: Any) -> None:
    """Give a sync task its button.

    Args:
        synced: What calling the task has returned while the DAG is made.
    """
    synced.operator.operator_extra_links = (ObjectsLink(),)
