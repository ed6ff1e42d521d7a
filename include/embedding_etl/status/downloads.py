"""A person's own way to an object's bytes: a link of the store, made at the click, short-lived, and never written down.

The store sends it as a file to save, whatever the object says it is: nothing of a bucket is shown as a page.
"""

from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.objects_queries import find_object

LIFETIME_S = 300


def sign_download(runtime: Runtime, key: str) -> str:
    """A link to the version of an object that the ledger knows.

    Raises:
        Denied: the ledger does not know it, it is gone, it may not be read, or its source has no links.
        EmbeddingEtlError: it has another version by now, or the store does not answer.
    """
    record = find_object(runtime, key)
    if record.vanished:
        raise Denied(404, "The object is gone from storage.")
    try:
        link = runtime.source.sign_link(record.listed(), LIFETIME_S)
    except PoisonObject as error:
        raise Denied(422, f"There is no link: {error.message}") from error
    if not link:
        raise Denied(404, "The objects of this pipeline are files of a directory: there are no links to them.")
    return link
