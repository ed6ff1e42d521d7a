"""Which arithmetic a model will run in. Decided without torch: the fingerprint needs it before any model loads."""

from pathlib import Path
from typing import Literal

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.settings import ModelSettings

_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, arm64
_CPUINFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia/version")


def resolve_precision(settings: ModelSettings) -> Literal["fp32", "bf16"]:
    """The precision that will really run. "auto" is bf16 where the processor has it, else fp32.

    Raises:
        ConfigError: the model cannot run in the precision that the pipeline file asks for.
    """
    if settings.precision == "int8":
        raise ConfigError(
            f"model {settings.id}: precision: int8 is not available here; allowed are auto, fp32 and bf16"
        )
    if settings.precision != "auto":
        return settings.precision
    return "bf16" if has_fast_bf16(_CPUINFO, _NVIDIA) else "fp32"


def has_fast_bf16(cpuinfo: Path, nvidia: Path) -> bool:
    """Whether a GPU is there, or the processor multiplies bf16 itself."""
    if nvidia.exists():
        return True
    if not cpuinfo.exists():
        return False
    flags: set[str] = set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            flags.update(value.split())
    return bool(flags & _CPU_FLAGS)
