"""(c) Share of an ingest run's wall time that is spent in model calls, per lane, on the sample corpus."""

import tempfile
import time
from pathlib import Path

import yaml

from bench.measure import print_figure, require
from include.embedding_etl.converge import converge
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import PROJECT_ROOT, Places
from include.embedding_etl.runtime import Runtime
from include.local_stack.corpus.files import write_corpus
from tests.fixtures_milvus import MilvusLiteServer


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_corpus(directory / "source")
        document = yaml.safe_load((PROJECT_ROOT / "include" / "pipelines" / "demo.yaml").read_text())
        document |= {"name": "bench", "source": {"uri": f"file://{directory}/source"}, "milvus": {}}
        (directory / "bench.yaml").write_text(yaml.safe_dump(document))
        server = MilvusLiteServer(directory / "milvus")
        server.start()
        places = Places(
            _env_file=None,
            ledger_url=f"sqlite:///{directory}/ledger.db",
            state_uri=str(directory / "state"),
            milvus_uri=server.uri,
        )
        try:
            with Runtime(find_pipeline(directory, "bench"), places, one_process=True) as runtime:
                started = time.perf_counter()
                report = converge(runtime, "bench")
                wall_s = time.perf_counter() - started
        finally:
            server.kill()
    model_s = sum(lane.model_s for lane in report.lanes.values())
    print_figure(f"ingest of the sample corpus, {report.listed} objects, one process", f"{wall_s:.1f} s")
    for lane, figures in report.lanes.items():
        share = figures.model_s / figures.seconds if figures.seconds else 0.0
        print_figure(
            f"lane {lane}: {figures.figures['chunks']} chunks",
            f"{figures.seconds:.1f} s, {figures.model_s:.1f} s in the model ({share:.0%}, first load included)",
        )
    print_figure("all lanes: share of the run's wall time in model calls", f"{model_s / wall_s:.0%}")
    require(report.green, f"the run is red: {report.problems}")


if __name__ == "__main__":
    main()
