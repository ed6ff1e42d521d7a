"""Resolve a model: find its weights and say exactly what it is, without importing torch."""

import hashlib
import json
from pathlib import Path

from include.embedding_etl.embed.architecture import read_architecture
from include.embedding_etl.embed.endpoint import DEFAULT_BASE_URL, endpoint_dimension
from include.embedding_etl.embed.pickled_weights import PICKLE, convert_pickle
from include.embedding_etl.embed.precision import resolve_precision
from include.embedding_etl.embed.weights import find_weights, hub_directory
from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import ModelInfo, ModelInput

# What OpenAI's models read is 8,191 tokens. Texts this long become one blurred vector, so a chunk is much shorter.
_ENDPOINT_TOKENS = 512
_PULLED = ["*.safetensors", "*.json", "*.txt"]  # never code
_NOT_PULLED = ["*fp32-0*", "*/*.safetensors", "onnx/*", "openvino/*"]  # other copies of the same weights


def resolve_model(settings: ModelSettings, models_dir: Path) -> ModelInfo:
    """Find a model's weights and describe them.

    Args:
        settings: A lane's `model`.
        models_dir: Where pulled and converted models are.
    Raises:
        ConfigError: the weights are not here, or are not what they should be. The message says what to do.
    """
    if settings.kind == "openai":
        return _resolve_endpoint(settings)
    weights = find_weights(settings, models_dir)
    architecture = read_architecture(settings.kind, weights.path)
    return ModelInfo(
        model_id=settings.id if settings.weights != "path" else Path(settings.id).name,
        revision=weights.revision,
        weights_path=str(weights.path),
        weights_hash=weights.sha256,
        dimension=architecture.dimension,
        pooling=architecture.pooling,
        precision=resolve_precision(settings),
        pretrained=weights.pretrained,
        origin=weights.origin,
        licence=weights.licence,
        input=architecture.input,
    )


def pull_model(settings: ModelSettings, models_dir: Path) -> Path:
    """Fetch a model of the hub by its pinned revision. The only function here that uses the network.

    Returns:
        The directory it is in.
    Raises:
        ConfigError: it does not come from the hub, or the hub has no such model or revision.
        TransientError: the hub did not answer.
    """
    if settings.weights != "hub":
        raise ConfigError(f"model {settings.id}: its weights come from {settings.weights}, there is nothing to pull")
    target = hub_directory(settings, models_dir)
    partial = target if target.is_dir() else target.with_name(f".{target.name}.partial")
    _download(settings, partial, _PULLED)
    if not any(partial.glob("*.safetensors")):
        _download(settings, partial, [PICKLE])
        if (partial / PICKLE).is_file():
            convert_pickle(partial)
    if partial != target:
        partial.rename(target)  # a snapshot that broke off is never taken for a model
    return target


def _download(settings: ModelSettings, directory: Path, patterns: list[str]) -> None:
    import httpx2  # the hub's client speaks through it
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(
            settings.id,
            revision=settings.revision,
            local_dir=directory,
            allow_patterns=patterns,
            ignore_patterns=_NOT_PULLED,
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise ConfigError(f"the hub has no {settings.id} at {settings.revision} for us (HTTP {status})") from error
        raise TransientError(f"the hub did not give us {settings.id}: HTTP {status}") from error
    except (httpx2.HTTPError, OSError) as error:
        raise TransientError(f"the hub did not give us {settings.id}: {error}") from error


def _resolve_endpoint(settings: ModelSettings) -> ModelInfo:
    if settings.weights != "remote":
        raise ConfigError("model.weights: must be remote for kind openai")
    dimension = endpoint_dimension(settings)
    base_url = (settings.base_url or DEFAULT_BASE_URL).rstrip("/")
    # An endpoint does not show its weights: its address and what we ask of it stand for them.
    identity = json.dumps([settings.kind, base_url, settings.id, settings.revision, dimension])
    return ModelInfo(
        model_id=settings.id,
        revision=settings.revision,
        weights_path="",
        weights_hash=hashlib.sha256(identity.encode()).hexdigest(),
        dimension=dimension,
        pooling="remote",
        precision="remote",
        pretrained=True,
        origin=f"endpoint {base_url}",
        licence="of the endpoint",
        input=ModelInput(
            ("text",),
            tokenizer_path=settings.tokenizer or "",
            max_tokens=settings.max_tokens or _ENDPOINT_TOKENS,
        ),
    )
