"""Which lanes an object enters, and which keys a pipeline looks at."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.media_types import modality


def lanes_for(media_type: str, lanes: Mapping[str, LaneSettings]) -> tuple[str, ...]:
    """The names of the lanes that accept a media type, in the order of the pipeline file.

    A media type without a modality (a ZIP file, an SVG drawing) enters no lane, whatever its globs say: `image/*` means
    pictures that can be decoded.

    Args:
        media_type: As media_types.sniff found it.
        lanes: The pipeline's.
    Returns:
        Empty when no lane accepts it: the object is unrouted, and the report says so.
    """
    if modality(media_type) is None:
        return ()
    return tuple(
        name for name, lane in lanes.items() if any(fnmatchcase(media_type, pattern) for pattern in lane.accepts)
    )


class KeyFilter:
    """Include and exclude globs on whole keys, case-sensitive; excluding wins.

    `*` and `?` stop at a slash, `**` does not, and `**/` also stands for no folder at all: `docs/**/*.md` finds
    `docs/a.md` and `docs/x/y/a.md`. `[abc]`, `[a-z]` and `[!a]` are one character. A pattern without a slash is
    compared with the last part of the key: `*.tmp` finds them in every folder. Spaces and dots are not special.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str] = ()) -> None:
        """Translate the patterns once.

        Args:
            include: A key must match one of these.
            exclude: And none of these.
        """
        self._include = _any_of(include)
        self._exclude = _any_of(exclude)

    def accepts(self, key: str) -> bool:
        """Whether the pipeline looks at this key."""
        return self._include.fullmatch(key) is not None and self._exclude.fullmatch(key) is None


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """One expression for all patterns; none at all match nothing."""
    return re.compile("|".join(f"(?:{_translate(pattern)})" for pattern in patterns) or r"(?!)", re.DOTALL)


def _translate(pattern: str) -> str:
    anywhere = "(?:.*/)?" if "/" not in pattern else ""
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
    return anywhere + "".join(_translate_token(token) for token in tokens)


def _translate_token(token: str) -> str:
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in wildcards:
        return wildcards[token]
    if len(token) > 2 and token[0] == "[":
        negated = token[1] == "!"
        members = token[2:-1] if negated else token[1:-1]
        escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
        return f"[^/{escaped}]" if negated else f"[{escaped}]"
    return re.escape(token)
