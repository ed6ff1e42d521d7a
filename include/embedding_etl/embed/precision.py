"""Which number format a model runs in. Decided without torch, so that plan and status can say it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.settings import ModelKind, ModelSettings

CPU_INFO = Path("/proc/cpuinfo")

_Work: TypeAlias = Literal["products", "convolutions"]

# What most of a model's time goes into. The Perceiver stays in fp32: its position features do not survive 8 bits.
_WORK: Mapping[ModelKind, _Work] = {
    "sentence-transformers": "products",
    "clip": "products",
    "whisper": "products",
    "resnet": "convolutions",
    "torchvision-resnet50": "convolutions",
    "efficientnet-lite0": "convolutions",
}


def resolve_precision(settings: ModelSettings) -> Literal["fp32", "bf16", "remote"]:
    """What will really run.

    Raises:
        ConfigError: int8, for which no model here has weights.
    """
    if settings.weights == "remote":
        return "remote"
    match settings.precision:
        case "int8":
            # MiniLM in int8 was tried: a cosine to fp32 of .955 is another model.
            raise ConfigError(f"model.precision: {settings.kind} does not run in int8; allowed are auto, fp32 and bf16")
        case "auto":
            return "bf16" if _WORK.get(settings.kind) in bf16_pays_for(_read_cpu_info()) else "fp32"
        case precision:
            return precision


def bf16_pays_for(cpu_info: str) -> frozenset[_Work]:
    """What this processor does faster in bfloat16 than in fp32, from the text of /proc/cpuinfo.

    Intel's avx512_bf16 without AMX makes matrix products slower (80 GFLOPS a core where fp32 has 140), for its
    instruction starts half as often as a plain one; convolutions gain, since they wait for memory. On AMD's cores, and
    with AMX, both gain.
    """
    lines = cpu_info.splitlines()
    flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    if "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in cpu_info):
        return frozenset({"products", "convolutions"})
    return frozenset({"convolutions"}) if "avx512_bf16" in flags else frozenset()


@cache
def _read_cpu_info() -> str:
    try:
        return CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return ""  # not Linux
