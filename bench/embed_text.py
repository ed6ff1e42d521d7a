"""(b) Chunks per second of the embed stage, over SentenceTransformer.encode with its defaults on the same chunks."""

import os
import tempfile
import time
from pathlib import Path

import torch
import yaml
from sentence_transformers import SentenceTransformer

from bench.measure import print_figure, require
from bench.texts import make_texts
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.precision import bf16_pays_for
from include.embedding_etl.lane_collection import ensure_live
from include.embedding_etl.ledger.records import RunRecord
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import PROJECT_ROOT, Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stages.embed import embed
from include.embedding_etl.stages.identify import identify
from include.embedding_etl.stages.route import route
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.types import Chunk
from include.embedding_etl.vectorstore.fake import InMemoryStore

OBJECTS = 800
TARGET = 1.8  # where the processor is faster in bf16: AMD with avx512_bf16, or AMX
FLOOR = 0.8  # elsewhere: fetching, decoding and storing may not cost more than this


def main() -> None:
    texts = make_texts(OBJECTS)
    with tempfile.TemporaryDirectory() as directory, open_pipeline(Path(directory), texts) as runtime:
        live = ensure_live(runtime, "text")
        load_embedder(live.settings.model, live.info).embed(
            [Chunk(0, 0, 5, "warm up")]
        )  # imports, not the stage's cost
        scan(runtime, "bench")
        identify(runtime, "bench")
        (shard,) = route(runtime, "bench", live)
        started = time.perf_counter()
        figures = embed(runtime, "bench", shard)
        stage_s = time.perf_counter() - started
        run = runtime.ledger.runs.get("bench")
        chunks = stored_texts(runtime)
    require(len(chunks) == figures["chunks"], "not every chunk is in the store")
    baseline = SentenceTransformer(live.info.weights_path)
    baseline.encode(["warm up"])
    started = time.perf_counter()
    baseline.encode(chunks)
    baseline_s = time.perf_counter() - started
    ratio = baseline_s / stage_s
    print_figure(
        "embed stage, fetch to stored vectors", f"{len(chunks) / stage_s:.1f} chunks/s ({live.info.precision})"
    )
    print_figure("of it in the model", f"{model_s(run) / stage_s:.0%}")
    print_figure("SentenceTransformer.encode, defaults, same chunks", f"{len(chunks) / baseline_s:.1f} chunks/s")
    print_figure("ratio", f"{ratio:.2f}")
    if "dense" in bf16_pays_for(Path("/proc/cpuinfo").read_text()):
        require(ratio >= TARGET, f"ratio {ratio:.2f} is below {TARGET}")
    else:
        print_figure("target", f"{TARGET} is not asked of this processor: bf16 is no faster on it (embed/precision.py)")
        require(ratio >= FLOOR, f"ratio {ratio:.2f} is below {FLOOR}")


def open_pipeline(directory: Path, texts: list[str]) -> Runtime:
    """The demo's text lane over a directory of texts."""
    (directory / "source").mkdir()
    for number, text in enumerate(texts):
        (directory / "source" / f"{number:05d}.txt").write_text(text)
    document = yaml.safe_load((PROJECT_ROOT / "include" / "pipelines" / "demo.yaml").read_text())
    document |= {"name": "bench", "source": {"uri": f"file://{directory}/source"}, "milvus": {}}
    document["lanes"] = {"text": document["lanes"]["text"]}
    (directory / "bench.yaml").write_text(yaml.safe_dump(document))
    places = Places(_env_file=None, ledger_url=f"sqlite:///{directory}/ledger.db", state_uri=str(directory / "state"))
    store = InMemoryStore()
    return Runtime(find_pipeline(directory, "bench"), places, open_store=lambda _: store, one_process=True)


def stored_texts(runtime: Runtime) -> list[str]:
    """The text of every chunk in the embedding store."""
    live = ensure_live(runtime, "text")
    paths = {file.uri for _, file in runtime.ledger.vectors.stream(live.fingerprint)}
    return [text for path in sorted(paths) for text in runtime.state.read_table(path, ["text"])["text"].to_pylist()]


def model_s(run: RunRecord | None) -> float:
    return sum(stage.model_s for stage in run.stages) if run else 0.0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print_figure("threads of torch", str(torch.get_num_threads()))
    main()
