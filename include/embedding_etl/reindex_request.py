"""What a person asks of a reindex or a rollback, checked before anything is touched."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import IndexSettings
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.types import JsonValue

PREVIOUS = "previous"


class ReindexRequest(BaseModel):
    """One reindex of one lane; with `earlier` a rollback to that collection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lane: str
    rebuild: Literal["vectors", "index"] = "vectors"
    index: IndexSettings | None = None  # None = what the pipeline file says
    min_recall: Annotated[float, Field(ge=0, le=1)] = 0.95
    sample: Annotated[int, Field(ge=1, le=10_000)] = 200
    approval: bool = True
    grace_hours: Annotated[float, Field(ge=0)] = 24.0
    earlier: str = ""  # rollback: the real name of a collection, or PREVIOUS

    @classmethod
    def parse(cls, pipeline: PipelineSettings, values: Mapping[str, Any]) -> Self:
        """Read the values of a form or a command line.

        Raises:
            ConfigError: naming the parameter and what is allowed.
        """
        given = {name: value for name, value in values.items() if not (name == "index" and not value)}
        try:
            request = cls.model_validate(given)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            raise ConfigError("reindex: " + "; ".join(lines)) from error
        if request.lane not in pipeline.lanes:
            known = ", ".join(pipeline.lanes)
            raise ConfigError(f"lane: pipeline {pipeline.name} has no lane {request.lane!r}; it has: {known}")
        return request

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for the ledger."""
        return self.model_dump(mode="json")
