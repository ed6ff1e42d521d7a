"""Files under the state URI that appear at once: by rename in a directory, by a copy within the bucket in S3."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.places import PROJECT_ROOT
from include.embedding_etl.s3_credentials import S3Credentials, is_distrust

UNFINISHED = ".unfinished"
_CONFIG_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
_CONFIG_CODES = re.compile(
    r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|UNRECOGNIZED_CLIENT"
    r"|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN|MISSING_AUTHENTICATION_TOKEN|VALIDATION)"
    r"|when deleting objects in S3 bucket [\s\S]*Access ?Denied"  # a deletion of many names no code
)
_OF_THE_STORE = ("AWS Error", "when deleting objects in S3 bucket")


class Root(Protocol):
    """A directory or a bucket prefix. Paths are relative to it."""

    def uri_of(self, path: str) -> str: ...
    def exists(self, path: str) -> bool: ...
    def unfinished_path(self, path: str, token: str) -> str: ...
    def make_parent(self, path: str) -> None: ...
    def open_output(self, path: str) -> Any: ...
    def open_input(self, path: str) -> Any: ...
    def publish(self, unfinished: str, path: str) -> None: ...
    def discard(self, unfinished: str) -> None: ...
    def delete_folder(self, path: str) -> None: ...
    def delete_file(self, path: str) -> None: ...
    def list_folder(self, path: str) -> list["Listed"]: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """One file or folder, as its folder shows it."""

    name: str
    is_folder: bool
    size_bytes: int
    modified_ms: int  # epoch; 0 for folders


class DirectoryRoot:
    """A directory that all workers see."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = pafs.LocalFileSystem()

    def uri_of(self, path: str) -> str:
        """file:///…"""
        return (self._directory / path).as_uri()

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return (self._directory / path).is_file()

    def unfinished_path(self, path: str, token: str) -> str:
        """Beside the final one: a rename is atomic only within one file system."""
        folder, _, name = path.rpartition("/")
        return f"{folder}/{UNFINISHED}-{name}-{token}".lstrip("/")

    def make_parent(self, path: str) -> None:
        """Make the folders above a file."""
        (self._directory / path).parent.mkdir(parents=True, exist_ok=True)

    def open_output(self, path: str) -> Any:
        """A stream to a new file."""
        return self._files.open_output_stream(str(self._directory / path))

    def open_input(self, path: str) -> Any:
        """A seekable file."""
        return self._files.open_input_file(str(self._directory / path))

    def publish(self, unfinished: str, path: str) -> None:
        """To the disk first, then the name, then the folder to the disk: a power cut leaves the old or the new file."""
        source, target = self._directory / unfinished, self._directory / path
        _flush_to_disk(source)
        source.replace(target)
        _flush_to_disk(target.parent)

    def discard(self, unfinished: str) -> None:
        """Remove what a failed writer left; nothing reads it, so it does no harm if that fails."""
        with suppress(OSError):
            (self._directory / unfinished).unlink()

    def delete_folder(self, path: str) -> None:
        """With everything in it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._directory / path)

    def delete_file(self, path: str) -> None:
        """One that is not there is fine."""
        (self._directory / path).unlink(missing_ok=True)

    def list_folder(self, path: str) -> list[Listed]:
        """What is directly in it, by name; nothing where there is no such folder."""
        return _listed(self._files, str(self._directory / path))


class BucketRoot:
    """A bucket prefix.

    pyarrow cannot abandon an upload: closing its stream, which even its destructor does, completes it. So a file is
    uploaded under a name that nobody reads, and copied to its own within the store, which is atomic.
    """

    def __init__(self, bucket_and_prefix: str, credentials: S3Credentials) -> None:
        self._base = bucket_and_prefix.strip("/")
        bucket = self._base.partition("/")[0]
        endpoint = urlsplit(credentials.endpoint) if credentials.endpoint else None
        region = credentials.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        with translated(f"s3://{self._base}"):
            if region is None:  # else the SDK would ask a metadata service that few machines have
                region = "us-east-1" if endpoint else pafs.resolve_s3_region(bucket)
            self._files = pafs.S3FileSystem(
                access_key=credentials.access_key,
                secret_key=credentials.secret_key,
                session_token=credentials.token,
                region=region,
                endpoint_override=endpoint.netloc if endpoint else None,
                scheme=endpoint.scheme if endpoint else "https",
                connect_timeout=5,
                request_timeout=60,
                tls_ca_file_path=credentials.trusted,
                retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=4),
            )

    def uri_of(self, path: str) -> str:
        """s3://…"""
        return f"s3://{self._base}/{path}"

    def exists(self, path: str) -> bool:
        """Whether the object is there."""
        with translated(self.uri_of(path)):
            return bool(self._files.get_file_info(f"{self._base}/{path}").type == pafs.FileType.File)

    def unfinished_path(self, path: str, token: str) -> str:
        """In a folder of its own, which a lifecycle rule may empty."""
        return f"{UNFINISHED}/{token}-{path.rpartition('/')[2]}"

    def make_parent(self, path: str) -> None:
        """S3 has no folders."""

    def open_output(self, path: str) -> Any:
        """A stream to a new object."""
        return self._files.open_output_stream(f"{self._base}/{path}")

    def open_input(self, path: str) -> Any:
        """A seekable file."""
        return self._files.open_input_file(f"{self._base}/{path}")

    def publish(self, unfinished: str, path: str) -> None:
        """Copy within the store, and look whether all of it arrived.

        Raises:
            TransientError: it did not.
        """
        source, target = f"{self._base}/{unfinished}", f"{self._base}/{path}"
        self._files.copy_file(source, target)
        before, after = self._files.get_file_info([source, target])
        if before.size != after.size:
            self._files.delete_file(target)
            raise TransientError(f"{self.uri_of(path)}: {after.size} bytes arrived of {before.size}")
        self.discard(unfinished)

    def discard(self, unfinished: str) -> None:
        """Remove what a failed writer left; nothing reads it, so it does no harm if that fails."""
        with suppress(OSError):
            self._files.delete_file(f"{self._base}/{unfinished}")

    def delete_folder(self, path: str) -> None:
        """With everything in it."""
        with suppress(FileNotFoundError):
            self._files.delete_dir(f"{self._base}/{path}")

    def delete_file(self, path: str) -> None:
        """One that is not there is fine."""
        with suppress(FileNotFoundError):
            self._files.delete_file(f"{self._base}/{path}")

    def list_folder(self, path: str) -> list[Listed]:
        """What is directly below it, by name; nothing where there is nothing."""
        return _listed(self._files, f"{self._base}/{path}".rstrip("/"))


def open_root(uri: str, credentials: S3Credentials) -> Root:
    """The root that a state URI names.

    Raises:
        ConfigError: not a scheme of ours, or the bucket cannot be reached.
    """
    if uri.startswith("s3://") and urlsplit(uri).netloc:
        return BucketRoot(uri.removeprefix("s3://"), credentials)
    if "://" in uri and not uri.startswith("file:///"):
        raise ConfigError(f"ETL_STATE_URI: {uri!r}: allowed are s3://bucket/prefix, file:///path and a path")
    path = unquote(uri.removeprefix("file://")) if uri.startswith("file:///") else uri
    return DirectoryRoot(PROJECT_ROOT / path)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what pyarrow and the operating system raise about one file into our errors.

    Raises:
        IntegrityError: the file is missing, cut off or damaged.
        ConfigError: no permission, no such bucket, wrong credentials.
        TransientError: everything else that may pass: no network, no room.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise IntegrityError(f"{uri}: this file should be there and is not") from error
    except pa.ArrowInvalid as error:
        raise IntegrityError(f"{uri}: this file is cut off or damaged: {error}") from error
    except OSError as error:
        text = str(error)
        if error.errno in _CONFIG_ERRNOS or _CONFIG_CODES.search(text):
            raise ConfigError(f"{uri}: the state cannot be kept here: {text}; check ETL_STATE_URI") from error
        if is_distrust(text):
            raise ConfigError(f"{uri}: the endpoint's certificate is not trusted: {text}") from error
        # Without either it is what Parquet's own reader raises.
        if error.errno is None and not any(words in text for words in _OF_THE_STORE):
            raise IntegrityError(f"{uri}: this file is damaged: {text}") from error
        raise TransientError(f"{uri}: {text}") from error


def _listed(files: Any, folder: str) -> list[Listed]:
    found = files.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    listed = [
        Listed(
            info.base_name,
            info.type == pafs.FileType.Directory,
            info.size or 0,
            info.mtime_ns // 1_000_000 if info.type == pafs.FileType.File and info.mtime_ns else 0,
        )
        for info in found
        if info.type in (pafs.FileType.Directory, pafs.FileType.File)
    ]
    return sorted(listed, key=lambda each: each.name)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
