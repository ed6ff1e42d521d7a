"""The status pages inside Airflow: /embedding-etl, in the navigation, behind Airflow's own login and permissions."""

import hashlib
from typing import Any
from urllib.parse import quote

from airflow.api.common.trigger_dag import trigger_dag
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from airflow.models.connection import Connection
from airflow.plugins_manager import AirflowPlugin
from airflow.utils.types import DagRunTriggeredByType
from fastapi import HTTPException
from fastapi.security import HTTPAuthorizationCredentials
from starlette.requests import Request

from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.status.access import Denied, Viewer
from include.embedding_etl.status.app import create_app
from include.embedding_etl.status.patience import connect_for_a_page
from include.embedding_etl.status.site import Site
from include.embedding_etl.steps.connections import milvus_address_of, s3_credentials_of

PREFIX = "/embedding-etl"


class AirflowHost:
    """Logins, permissions and runs are Airflow's."""

    async def viewer(self, request: Request) -> Viewer:
        """By the same token and cookie as Airflow's own API; looking needs the right to see plugins."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        credentials = HTTPAuthorizationCredentials(scheme=scheme, credentials=bearer) if bearer else None
        try:
            user = await get_user(request, None, credentials)
        except HTTPException as error:
            raise Denied(error.status_code, "Log in to Airflow first.") from error
        if not get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=user):
            raise Denied(403, "You may not see Airflow's plugins.")
        return Viewer(user.get_name(), f"{user.get_id()}", user)

    def may_trigger(self, viewer: Viewer, dag_id: str) -> bool:
        """As Airflow's own Trigger button."""
        return get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=viewer.user
        )

    def trigger(self, viewer: Viewer, dag_id: str, form: dict[str, Any]) -> str:
        """Start a run in that person's name."""
        if not self.may_trigger(viewer, dag_id):
            raise Denied(403, f"You may not start {dag_id}. Ask somebody who may.")
        run = trigger_dag(dag_id, conf=form, triggered_by=DagRunTriggeredByType.UI, triggering_user_name=viewer.name)
        return self.run_link(f"{dag_id}/{run.run_id}") if run is not None else ""

    def run_link(self, run_id: str) -> str:
        """Airflow's page of a run; runs of the command line have none."""
        dag_id, separator, dag_run_id = run_id.partition("/")
        dag_run_id = dag_run_id.partition(" rebuild ")[0]  # a reindex within a run of the audit
        return f"/dags/{quote(dag_id)}/runs/{quote(dag_run_id, safe='')}" if separator else ""

    def form_link(self, dag_id: str) -> str:
        """Airflow's page of a DAG, with its Trigger button."""
        return f"/dags/{quote(dag_id)}"


def open_runtime(pipeline: PipelineSettings) -> Runtime:
    """As the tasks do it, with the connections of the API server's own secrets backends."""
    source, milvus = pipeline.source.connection_id, pipeline.milvus.connection_id
    return Runtime(
        pipeline,
        Places(),
        credentials=s3_credentials_of(Connection.get_connection_from_secrets(source)) if source else None,
        milvus=milvus_address_of(Connection.get_connection_from_secrets(milvus), milvus) if milvus else None,
        open_store=connect_for_a_page,
    )


def _secret() -> str:
    """The same in all workers of the API server, and of no use for anything else."""
    key = conf.get("api_auth", "jwt_secret", fallback="") or conf.get("api", "secret_key")
    return hashlib.sha256(f"embedding-etl csrf {key}".encode()).hexdigest()


class EmbeddingEtlUi(AirflowPlugin):
    """Mounts the app and puts it into the navigation."""

    name = "embedding_etl_ui"
    fastapi_apps = [  # noqa: RUF012 - as Airflow declares it
        {
            "app": create_app(Site(AirflowHost(), Places().pipelines_dir, open_runtime), _secret()),
            "url_prefix": PREFIX,
            "name": "Embedding ETL",
        }
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Embedding ETL",
            "href": f"{PREFIX}/overview",
            "destination": "nav",
            "url_route": "embedding-etl",
            "nav_top_level": True,
        }
    ]
