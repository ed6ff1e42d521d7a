"""One page of ListObjectsV2: from XML to objects, with exact keys, or an error. Never half a page."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_plus

from lxml import etree

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.storage.s3_refusals import bucket_refusal, error_code
from include.embedding_etl.types import ListedObject


@dataclass(frozen=True, slots=True)
class Page:
    """Up to 1,000 objects, and how to go on."""

    objects: tuple[ListedObject, ...]
    next_token: str | None  # None = this was the last page
    folders: tuple[str, ...] = ()  # what keys begin with that a delimiter has put together


def parse_page(document: bytes, where: str, prefix: str) -> Page:
    """Read one page that came with status 200.

    Args:
        document: The answer's body.
        where: The source's URI, for messages.
        prefix: What was asked for; every key must begin with it.
    Raises:
        TransientError: the document is cut off, or it is an error document.
        IntegrityError: it cannot be a page of a complete listing.
        ConfigError: no permission; or a key that is not UTF-8, which nothing behind us could name.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        raise TransientError(f"{where}: a page of the listing is not complete XML") from error
    namespace, _, name = str(root.tag).rpartition("}")
    if name != "ListBucketResult":
        raise bucket_refusal(where, 200, error_code(document) if name == "Error" else "")
    tag = f"{namespace}}}" if namespace else ""
    fields = {str(child.tag): child.text or "" for child in root if len(child) == 0}
    encoded = fields.get(f"{tag}EncodingType") == "url"
    objects = tuple(_read_object(item, tag, encoded, where) for item in root.iterchildren(f"{tag}Contents"))
    folders = tuple(
        _read_key(item.findtext(f"{tag}Prefix") or "", encoded, where)
        for item in root.iterchildren(f"{tag}CommonPrefixes")
    )
    count, held = fields.get(f"{tag}KeyCount"), len(objects) + len(folders)
    if count is not None and count != str(held):
        raise IntegrityError(f"{where}: a page of the listing announces {count} keys and holds {held}")
    for listed in objects:
        if not listed.key.startswith(prefix):
            raise IntegrityError(f"{where}: the store listed {listed.key!r}, which is not under the prefix")
    return Page(objects, _next_token(fields, tag, where), folders)


def _next_token(fields: dict[str, str], tag: str, where: str) -> str | None:
    truncated = fields.get(f"{tag}IsTruncated", "").strip().lower()
    if truncated == "false":
        return None
    if truncated != "true":
        raise IntegrityError(f"{where}: a page of the listing does not say whether it is the last one")
    token = fields.get(f"{tag}NextContinuationToken")
    if not token:
        raise IntegrityError(f"{where}: a page of the listing says that there is more, but not how to go on")
    return token


def _read_key(raw_key: str, encoded: bool, where: str) -> str:
    try:
        # AWS writes a space as "+" and a plus as %2B; so does moto, and SeaweedFS writes %20: unquote_plus reads all.
        return unquote_plus(raw_key, errors="strict") if encoded else raw_key
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: the key {raw_key!r} is not UTF-8: rename or remove that object") from error


def _read_object(item: etree._Element, tag: str, encoded: bool, where: str) -> ListedObject:
    fields = {child.tag: child.text or "" for child in item}
    raw_key = fields.get(f"{tag}Key", "")
    key = _read_key(raw_key, encoded, where)
    try:
        modified = datetime.fromisoformat(fields[f"{tag}LastModified"])
        etag = fields[f"{tag}ETag"].strip('"')
        size_bytes = int(fields[f"{tag}Size"])
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"{where}: the store describes {raw_key!r} without {error}") from error
    if not key or not etag:
        raise IntegrityError(f"{where}: the store lists {raw_key!r} without a key or an ETag")
    storage_class = fields.get(f"{tag}StorageClass") or "STANDARD"
    return ListedObject(key, etag, size_bytes, round(modified.timestamp() * 1000), storage_class)
