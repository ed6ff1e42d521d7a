"""(d) A run over 10,000 objects of which none has changed: seconds, and model calls, which must be none."""

import tempfile
import time
from pathlib import Path

from bench.measure import print_figure, require
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
    require(first.green and second.green, f"a run was red: {first.problems + second.problems}")
    require(asked == OBJECTS, f"the first run embedded {asked} texts")
    require(len(endpoint.texts) == asked, "a no-change run called the model")


if __name__ == "__main__":
    main()
