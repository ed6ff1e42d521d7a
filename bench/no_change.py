"""(d) A run over 10,000 objects of which none has changed, and an audit of them: seconds, and model calls: none."""

import tempfile
import time
from pathlib import Path

from bench.measure import print_figure, require
from include.embedding_etl.audit import audit
from tests.fixtures_milvus import MilvusLiteServer
from tests.fixtures_pipeline import EmbeddingEndpoint, Project

OBJECTS = 10_000


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = MilvusLiteServer(Path(directory) / "milvus")
        server.start()
        endpoint = EmbeddingEndpoint()
        try:
            project = Project(Path(directory) / "project", server.uri, endpoint, name="bench")
            for number in range(OBJECTS):
                project.put(f"{number // 100:03d}/{number:06d}.txt", f"object {number} of many")
            started = time.perf_counter()
            first = project.run()
            first_s = time.perf_counter() - started
            asked = len(endpoint.texts)
            started = time.perf_counter()
            second = project.run()
            second_s = time.perf_counter() - started
            started = time.perf_counter()
            with project.open() as runtime:
                audited = audit(runtime, "bench")
            audit_s = time.perf_counter() - started
        finally:
            endpoint.close()
            server.kill()
    print_figure(
        f"first run over {OBJECTS:,} small texts (hashed embeddings)", f"{first_s:.1f} s, {asked:,} texts embedded"
    )
    print_figure(
        f"no-change run over {OBJECTS:,} objects",
        f"{second_s:.1f} s, {second.lanes['text'].figures['model_calls']} model calls, "
        f"{len(endpoint.texts) - asked} requests seen by the endpoint",
    )
    print_figure(f"audit of {OBJECTS:,} objects", f"{audit_s:.1f} s, compared {dict(audited.compared)}")
    require(audited.clean and audited.compared["vectors"] == OBJECTS, f"the audit found {audited.findings}")
    require(first.green and second.green, f"a run was red: {first.problems + second.problems}")
    require(asked == OBJECTS, f"the first run embedded {asked} texts")
    require(len(endpoint.texts) == asked, "a no-change run called the model")


if __name__ == "__main__":
    main()
