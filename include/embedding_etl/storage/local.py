"""A directory as a source: keys are POSIX paths relative to it.

Links to files inside the directory are read as files. Links that leave it, links to directories (they would list the
same files twice, or for ever) and whatever is not a file are not part of the source; a warning counts them.
A name that is not UTF-8 stops the listing with a ConfigError: it cannot be a key, and a listing without it would not be
complete, so that a file that is there would be taken for deleted.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from include.embedding_etl.errors import ChangedMeanwhile, ConfigError, PoisonObject, TransientError
from include.embedding_etl.key_range import check_prefix
from include.embedding_etl.storage.base import Fetched
from include.embedding_etl.storage.spool import Spool
from include.embedding_etl.types import ListedObject

_READ_BYTES = 1 << 20
_log = logging.getLogger(__name__)


class LocalSource:
    """The files below one directory. Safe to use from many threads at once."""

    def __init__(self, directory: Path) -> None:
        """Nothing is read yet.

        Args:
            directory: May itself be a link.
        """
        self._root = directory.resolve()

    def list(self, prefix: str = "") -> Iterator[ListedObject]:
        """All files whose keys begin with a prefix, directory by directory.

        Directories are entered from the top, so that a prefix leads no further out than the source itself does.

        Raises:
            ConfigError: no such directory, no permission, or a name that is not UTF-8.
            TransientError: the disk or the network share failed.
        """
        check_prefix(prefix, "")
        skipped = 0
        pending = [""]
        while pending:
            folder = pending.pop()
            for entry in self._entries(folder):
                if not _may_lead_to(folder + entry.name, prefix):
                    continue
                key = folder + _checked_name(entry, self._root)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{key}/")
                    continue
                if not key.startswith(prefix):
                    continue
                status = self._status_of_file(entry)
                if status is None:
                    skipped += 1
                    continue
                yield ListedObject(key, _token(status), status.st_size, status.st_mtime_ns // 1_000_000)
        if skipped:
            _log.warning("%s: %d links out of it, links to directories or special files left out", self._root, skipped)

    def read_head(self, listed: ListedObject, size_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        """The first bytes of exactly the listed version. Files have no user metadata.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as base.Source says.
        """
        with self._open(listed, "identify") as descriptor:
            return _read(descriptor, size_bytes), {}

    def read_range(self, listed: ListedObject, start: int, size_bytes: int) -> bytes:
        """A part of exactly the listed version.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as base.Source says.
        """
        with self._open(listed, "fetch") as descriptor:
            os.lseek(descriptor, start, os.SEEK_SET)
            return _read(descriptor, size_bytes)

    def sign_link(self, listed: ListedObject, lifetime_s: int) -> str:  # noqa: ARG002 - the protocol's
        """A directory has no links."""
        return ""

    @contextmanager
    def fetch(self, listed: ListedObject) -> Iterator[Fetched]:
        """A copy of exactly the listed version: the file itself may be rewritten while somebody decodes it.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as base.Source says.
        """
        with Spool(listed.size_bytes) as spool:
            with self._open(listed, "fetch") as descriptor:
                while data := _read(descriptor, _READ_BYTES):
                    spool.write(data)
            yield spool.fetched({})

    def _entries(self, prefix: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / prefix) as entries:
                yield from sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError) as error:
            if prefix == "":
                raise ConfigError(f"source.uri: there is no directory {self._root}") from error
            # It was there a moment ago: its files are gone, which is what an empty directory says.
        except PermissionError as error:
            raise ConfigError(f"{self._root / prefix}: no permission to list this directory") from error
        except OSError as error:
            raise TransientError(f"{self._root / prefix}: {error.strerror}") from error

    def _status_of_file(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """None for what is not a file of this source, or is one no longer."""
        try:
            if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(self._root):
                return None
            status = entry.stat()
        except (FileNotFoundError, RuntimeError):  # gone by now, or links in a circle
            return None
        except OSError as error:
            raise TransientError(f"{entry.path}: {error.strerror}") from error
        return status if stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def _open(self, listed: ListedObject, stage: str) -> Iterator[int]:
        """A descriptor of exactly the listed version, checked before and after it is read."""
        if any(part in ("", ".", "..") or "\0" in part for part in listed.key.split("/")):
            raise PoisonObject(listed.key, stage, "OutsideSource", "this is not a path below the source's directory")
        changed = ChangedMeanwhile(f"{listed.key!r} is gone or has another version by now")
        try:
            real = (self._root / listed.key).resolve(strict=True)
            if not real.is_relative_to(self._root):
                raise changed
            descriptor = _open_below(self._root, real.relative_to(self._root).parts)
        except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:
            raise changed from error
        except PermissionError as error:
            raise PoisonObject(listed.key, stage, "Forbidden", "no permission to read this file") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise changed from error
            raise TransientError(f"{listed.key!r}: {error.strerror}") from error
        try:
            if _token(os.fstat(descriptor)) != listed.etag:
                raise changed
            yield descriptor
            if _token(os.fstat(descriptor)) != listed.etag:
                raise changed
        finally:
            os.close(descriptor)


def _open_below(root: Path, parts: tuple[str, ...]) -> int:
    """Open step by step without following links: nobody can swap a directory for a link between check and open."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = below
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    finally:
        os.close(directory)


def _may_lead_to(path: str, prefix: str) -> bool:
    """Whether a file of this path, or one below a directory of this path, can begin with the prefix."""
    return path.startswith(prefix) or prefix.startswith(f"{path}/")


def _checked_name(entry: os.DirEntry[str], root: Path) -> str:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError as error:
        name = os.fsencode(entry.path)
        raise ConfigError(f"{root}: the name {name!r} is not UTF-8: rename that file, then run again") from error
    return entry.name


def _token(status: os.stat_result) -> str:
    """A version token: a rewrite in place changes the time, a replacement the inode."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _read(descriptor: int, size_bytes: int) -> bytes:
    """So many bytes, less only at the end of the file."""
    parts: list[bytes] = []
    try:
        while size_bytes > 0 and (data := os.read(descriptor, size_bytes)):
            parts.append(data)
            size_bytes -= len(data)
    except OSError as error:
        raise TransientError(f"reading a file failed: {error.strerror}") from error
    return b"".join(parts)
