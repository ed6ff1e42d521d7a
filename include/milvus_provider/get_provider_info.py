"""What Airflow is told about this provider: the schema is Airflow's provider_info.schema.json."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Milvus"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata; the entry point `apache_airflow_provider` names this function.

    The form of the connection is described here and not by methods of the hook, so that the API server shows it
    without importing the hook.
    """
    return {
        "package-name": "embedding-etl",  # has to be the name of the distribution
        "name": "Milvus",
        "description": "`Milvus <https://milvus.io/>`__, the vector database.\n",
        "integrations": [
            {"integration-name": _INTEGRATION, "external-doc-url": "https://milvus.io/docs", "tags": ["software"]}
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": ["include.milvus_provider.hooks.milvus"]}],
        "operators": [
            {"integration-name": _INTEGRATION, "python-modules": ["include.milvus_provider.operators.milvus"]}
        ],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": ["include.milvus_provider.sensors.milvus"]}],
        "asset-uris": [
            {
                "schemes": ["milvus"],
                "handler": None,
                "to_openlineage_converter": "include.milvus_provider.assets.convert_asset_to_openlineage",
            }
        ],
        "connection-types": [
            {
                "hook-class-name": "include.milvus_provider.hooks.milvus.MilvusHook",
                "hook-name": "Milvus",
                "connection-type": "milvus",
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {"host": "URI or host", "login": "User", "schema": "Database"},
                    "placeholders": {
                        "host": "http://milvus:19530",
                        "port": "19530; Test wants it even if the URI has it",
                        "login": "root; empty with a token",
                        "password": "password, or an API key if there is no user",
                        "schema": "default",
                    },
                },
                "conn-fields": {
                    "token": {
                        "label": "Token",
                        "description": "An API key, or user:password. Takes the place of user and password.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "secure": {
                        "label": "TLS",
                        "description": "Encrypt the connection. A URI that begins with https:// does so too.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                    "ca_pem_path": {
                        "label": "CA certificate",
                        "description": "With TLS: file on the workers with the authority to trust. Empty: public ones.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "client_pem_path": {
                        "label": "Client certificate",
                        "description": "With mutual TLS: file on the workers. Needs the CA certificate too.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "client_key_path": {
                        "label": "Client key",
                        "description": "With mutual TLS: file on the workers with the key of the client certificate.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "server_name": {
                        "label": "Server name",
                        "description": "With TLS: the name in the server's certificate, where it is not the host.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
    }
