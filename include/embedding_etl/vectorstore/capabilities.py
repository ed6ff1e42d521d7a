"""What a server is and can do, as it says itself at the connect. Nothing is guessed from its address."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from include.embedding_etl.vectorstore.server_versions import security_warning

Product: TypeAlias = Literal["lite", "server", "cloud", "memory"]

_LITE = "milvus_lite"
_CLOUD = "zilliz cloud"
_RELEASE = re.compile(r"v?(\d+)\.(\d+)\.\d+")  # "v2.6.4", "v2.3.5-lite" (a real server), "2.5.10-gpu"
_LINE = re.compile(r"(?:^v?|Milvus )(\d+)\.(\d+)\b")  # "2.6-20260404-31fb3fc", "… (Compatible with Milvus 2.6)"
_BULK_IMPORT_SINCE = (2, 3)  # with Parquet; the same three calls are answered since


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """Read once, when a connection is opened."""

    version: str  # for people, in the server's words
    product: Product
    line: tuple[int, int] | None  # (2, 6); None where the server does not say
    bulk_import: bool  # fills collections from files that it reads itself
    warning: str = ""  # known security holes of this version; "" = none known


IN_MEMORY = ServerCapabilities("in memory", "memory", None, bulk_import=False)


def is_plain(version: str) -> bool:
    """Whether this answer to GetVersion says enough, so that the server need not be asked for its description."""
    return version.startswith(_LITE) or _RELEASE.match(version) is not None


def read_capabilities(version: str, description: str = "") -> ServerCapabilities:
    """What the answers mean.

    Args:
        version: What GetVersion answers. Zilliz Cloud may answer a build tag such as `unknown-20260608-7ea6e3526`.
        description: What Connect answers; Zilliz Cloud: `Zilliz Cloud Vector Database(Compatible with Milvus 2.6)`.
    """
    if version.startswith(_LITE):
        return ServerCapabilities(version, "lite", None, bulk_import=False)
    told = version if is_plain(version) or not description else description
    found = _RELEASE.match(told) or _LINE.search(told)
    line = (int(found[1]), int(found[2])) if found else None
    if _CLOUD in f"{version} {description}".lower():
        # Its import is another protocol, of its control plane, with keys of its own: rows are upserted there.
        return ServerCapabilities(told, "cloud", line, bulk_import=False)
    return ServerCapabilities(
        told, "server", line, line is not None and line >= _BULK_IMPORT_SINCE, security_warning(version)
    )
