"""Media type -> extractor. Extractors are imported when first needed, so that a decoder process starts quickly."""

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.media_types import modality
from include.embedding_etl.types import Modality, Segment

_MODULES: dict[Modality, str] = {
    "text": "include.embedding_etl.extract.text",
    "image": "include.embedding_etl.extract.image",
    "audio": "include.embedding_etl.extract.audio",
    "video": "include.embedding_etl.extract.video",
}


class Extractor(Protocol):
    """What every module of `_MODULES` has under the name `extract`."""

    def __call__(self, opened: OpenObject) -> Iterator[Segment]:
        """Yield the object's segments in order, with memory that does not grow with the object's length.

        Raises:
            PoisonObject: at any point, also after segments were yielded; they are void then.
        """


def find_extractor(opened: OpenObject) -> Extractor:
    """The extractor for an object, imported. The modality follows the media type.

    Raises:
        PoisonObject: nothing is extracted from this type, or the model does not read its modality.
    """
    kind = modality(opened.media_type)
    if kind is None:
        raise opened.poison("UnsupportedMediaType", f"nothing is extracted from {opened.media_type}")
    if kind not in opened.model_input.modalities:
        reads = " and ".join(opened.model_input.modalities)
        raise opened.poison(
            "UnsupportedMediaType", f"the lane's model reads {reads}, but {opened.media_type} is {kind}"
        )
    return cast(Extractor, import_module(_MODULES[kind]).extract)
