"""Searching a lane, on a real pipeline."""

from pathlib import Path

import yaml

from include.embedding_etl.search import Query, search
from tests.fixtures_milvus import MilvusLiteServer
from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.grpc_proxy import grpc_proxy


def test_a_lane_is_searched_with_the_parameters_of_its_index(
    tmp_path: Path, milvus_lite_server: MilvusLiteServer, endpoint: EmbeddingEndpoint
) -> None:
    sizes = []
    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}") as proxy:
        for number, parameters in enumerate([{}, {"search": {"ef": 123}}]):
            project = Project(tmp_path / str(number), proxy.uri, endpoint)
            file = project.root / "pipelines" / f"{project.name}.yaml"
            document = yaml.safe_load(file.read_text())
            document["lanes"]["text"]["index"] = {"type": "HNSW", **parameters}
            file.write_text(yaml.safe_dump(document))
            project.put("a.txt", "a red kite")
            project.run()
            proxy.sizes["Search"].clear()
            with project.open() as runtime:
                assert [hit.fields["object_key"] for hit in search(runtime, "text", Query("red kite"))] == ["a.txt"]
            sizes += proxy.sizes["Search"]
    without, given = sizes
    assert given - without == len('"ef":123')
