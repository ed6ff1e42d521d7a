"""Which number format a model runs in. Decided without torch, so that plan and status can say it."""

from functools import cache
from pathlib import Path
from typing import Literal

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.settings import ModelSettings

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
# Kinds for which bfloat16 was measured to be faster and as good (cosine to fp32 at least .999).
_BF16_PAYS = {
    "sentence-transformers", "resnet", "torchvision-resnet50", "efficientnet-lite0", "clip", "whisper",
}  # fmt: skip


def resolve_precision(settings: ModelSettings) -> Literal["fp32", "bf16", "remote"]:
    """What will really run.

    Raises:
        ConfigError: int8, for which no model here has weights.
    """
    if settings.weights == "remote":
        return "remote"
    match settings.precision:
        case "int8":
            raise ConfigError(f"model.precision: {settings.kind} does not run in int8; allowed are auto, fp32 and bf16")
        case "auto":
            return "bf16" if settings.kind in _BF16_PAYS and processor_has_bf16() else "fp32"
        case precision:
            return precision


@cache
def processor_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself. Without that it is slower than fp32."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False  # not Linux
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())
