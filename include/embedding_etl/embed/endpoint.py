"""What is known about OpenAI-compatible endpoints without asking them."""

import os

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"

_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


def endpoint_dimension(settings: ModelSettings) -> int:
    """The length of its vectors.

    Raises:
        ConfigError: it is neither configured nor known.
    """
    dimension = settings.dimension or _DIMENSIONS.get(settings.id)
    if dimension is None:
        raise ConfigError(f"model.dimension: is required for {settings.id}: the length of the endpoint's vectors")
    return dimension


def read_api_key(settings: ModelSettings) -> str:
    """The key from the environment variable that the pipeline file names.

    A server of one's own may want none. The key of OpenAI is sent to OpenAI only, unless the file says otherwise.

    Raises:
        ConfigError: the variable is not set.
    """
    variable = settings.api_key_env or ("" if settings.base_url else DEFAULT_KEY_VARIABLE)
    if not variable:
        return "none"  # the client insists on one
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(f"model.api_key_env: the environment variable {variable} is not set")
    return key
