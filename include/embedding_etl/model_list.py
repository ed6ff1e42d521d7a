"""Which model each lane uses, where its weights come from, and whether they are on this machine."""

from dataclasses import asdict, dataclass

from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.pipeline_files import find_pipeline, load_pipeline, pipeline_files
from include.embedding_etl.places import Places
from include.embedding_etl.types import JsonValue


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One lane's model."""

    pipeline: str
    lane: str
    model_id: str
    revision: str
    origin: str
    licence: str
    dimension: int
    pretrained: bool
    precision: str
    weights_hash: str  # "" when the weights are not here
    missing: str  # "" or what to do about it

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for `--json`."""
        return asdict(self)


def list_models(places: Places, pipeline: str = "") -> list[ListedModel]:
    """All lanes of one pipeline, or of all of them.

    Raises:
        ConfigError: a pipeline file is broken, or there is none of that name.
    """
    pipelines = (
        [find_pipeline(places.pipelines_dir, pipeline)]
        if pipeline
        else [load_pipeline(file) for file in pipeline_files(places.pipelines_dir)]
    )
    listed = []
    for settings in pipelines:
        for lane, lane_settings in settings.lanes.items():
            model = lane_settings.model
            try:
                info = resolve_model(model, places.models_dir)
            except ConfigError as error:
                listed.append(
                    ListedModel(
                        settings.name, lane, model.id, model.revision, model.weights, "", 0, True, "", "", str(error)
                    )
                )
                continue
            listed.append(
                ListedModel(
                    settings.name, lane, info.model_id, info.revision, info.origin, info.licence, info.dimension,
                    info.pretrained, info.precision, info.weights_hash, "",
                )
            )  # fmt: skip
    return listed
