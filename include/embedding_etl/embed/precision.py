"""Which number format a model runs in. Decided without torch, so that plan and status can say it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelKind, ModelSettings

_CPU_INFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia/version")

_Work: TypeAlias = Literal["dense", "depthwise"]
_ALL: frozenset[_Work] = frozenset({"dense", "depthwise"})

# What most of a model's time goes into. The Perceiver stays in fp32: its position features do not survive 8 bits.
_WORK: Mapping[ModelKind, _Work] = {
    "sentence-transformers": "dense",
    "clip": "dense",
    "whisper": "dense",
    "resnet": "dense",
    "torchvision-resnet50": "dense",
    "efficientnet-lite0": "depthwise",
}


def resolve_precision(settings: ModelSettings) -> Literal["fp32", "bf16"]:
    """What will really run. "auto" is bf16 where a GPU or the processor is faster with it.

    Raises:
        ConfigError: int8, for which no model here has weights.
    """
    match settings.precision:
        case "int8":
            # MiniLM in int8 was tried: a cosine to fp32 of .955 is another model.
            raise ConfigError(f"model.precision: {settings.kind} does not run in int8; allowed are auto, fp32 and bf16")
        case "auto":
            return "bf16" if _WORK.get(settings.kind) in _fast_with_bf16() else "fp32"
        case precision:
            return precision


def bf16_pays_for(cpu_info: str) -> frozenset[_Work]:
    """What this processor does faster in bfloat16 than in fp32, from the text of /proc/cpuinfo.

    Intel's avx512_bf16 without AMX makes dense products slower: 80 GFLOPS a core where fp32 has 140, so that Whisper
    takes 1.3 times and ResNet-50 1.2 times as long. Depthwise convolutions wait for memory, and gain by a factor of
    1.4. On AMD's cores, and with AMX, everything gains.
    """
    lines = cpu_info.splitlines()
    flags = set(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
    # "bf16" is how ARM spells it.
    if flags & {"amx_bf16", "bf16"} or ("avx512_bf16" in flags and "AuthenticAMD" in cpu_info):
        return _ALL
    return frozenset({"depthwise"}) if "avx512_bf16" in flags else frozenset()


@cache
def _fast_with_bf16() -> frozenset[_Work]:
    if _NVIDIA.exists():
        return _ALL
    try:
        return bf16_pays_for(_CPU_INFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return frozenset()  # not Linux
