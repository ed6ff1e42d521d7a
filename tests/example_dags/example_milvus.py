"""Example of the operators and the sensor for Milvus: fill a new collection and put it behind the alias."""

# [START howto_milvus]
from airflow.sdk import chain, dag

from include.milvus_provider.operators.milvus import (
    MilvusCreateCollectionOperator,
    MilvusDeleteOperator,
    MilvusSearchOperator,
    MilvusSwitchAliasOperator,
    MilvusUpsertOperator,
)
from include.milvus_provider.sensors.milvus import MilvusCollectionSensor

COLLECTION = "articles_{{ params.version }}"


@dag(schedule=None, params={"version": 1}, tags=["example"])
def example_milvus() -> None:
    create = MilvusCreateCollectionOperator(
        task_id="create",
        collection_name=COLLECTION,
        fields=[
            {"field_name": "id", "datatype": "VARCHAR", "is_primary": True, "max_length": 64},
            {"field_name": "vector", "datatype": "FLOAT_VECTOR", "dim": 4},
            {"field_name": "source", "datatype": "VARCHAR", "max_length": 256},
        ],
        index_params=[
            {
                "field_name": "vector",
                "index_type": "HNSW",
                "metric_type": "COSINE",
                "params": {"M": 16, "efConstruction": 200},
            }
        ],
    )
    upsert = MilvusUpsertOperator(
        task_id="upsert",
        collection_name=COLLECTION,
        data=[
            {"id": "a1", "vector": [1.0, 0.0, 0.0, 0.0], "source": "a.txt"},
            {"id": "b1", "vector": [0.0, 1.0, 0.0, 0.0], "source": "b.txt"},
            {"id": "c1", "vector": [0.0, 0.0, 1.0, 0.0], "source": "c.txt"},
        ],
    )
    delete = MilvusDeleteOperator(task_id="delete", collection_name=COLLECTION, filter='source == "c.txt"')
    wait = MilvusCollectionSensor(task_id="wait", collection_name=COLLECTION, min_rows=2, timeout=60, poke_interval=5)
    switch = MilvusSwitchAliasOperator(task_id="switch", collection_name=COLLECTION, alias="articles")
    search = MilvusSearchOperator(
        task_id="search", collection_name="articles", data=[[1.0, 0.1, 0.0, 0.0]], limit=1, output_fields=["source"]
    )
    chain(create, upsert, delete, wait, switch, search)


example_milvus()
# [END howto_milvus]
