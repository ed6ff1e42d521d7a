"""A directory as a source never leads out of itself, and never hides a file silently."""

import logging
import os
from pathlib import Path

import pytest

from include.embedding_etl.errors import ChangedMeanwhile, ConfigError, PoisonObject, TransientError
from include.embedding_etl.places import Places
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.storage.local import LocalSource
from include.embedding_etl.storage.select import open_source
from include.embedding_etl.types import ListedObject


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    return directory


def listed(directory: Path, key: str) -> ListedObject:
    return {each.key: each for each in LocalSource(directory).list()}[key]


def keys(directory: Path) -> list[str]:
    return sorted(each.key for each in LocalSource(directory).list())


def test_links_that_leave_the_directory_are_not_listed(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    (directory / "real.txt").write_text("x")
    (directory / "link.txt").symlink_to("real.txt")
    (directory / "out.txt").symlink_to(directory.parent / "outside.txt")
    (directory / "folder").symlink_to(directory.parent)
    (directory / "loop").symlink_to("loop")
    (directory / "dangling").symlink_to("nothing")
    os.mkfifo(directory / "pipe")
    with caplog.at_level(logging.WARNING):
        assert keys(directory) == ["link.txt", "real.txt"]
    assert "5 links" in caplog.text
    with LocalSource(directory).fetch(listed(directory, "link.txt")) as fetched:
        assert fetched.body.read() == b"x"


def test_a_directory_that_is_itself_a_link_is_a_source(directory: Path, tmp_path: Path) -> None:
    (directory / "a.txt").write_text("x")
    (tmp_path / "alias").symlink_to(directory)
    assert keys(tmp_path / "alias") == ["a.txt"]
    with LocalSource(tmp_path / "alias").fetch(listed(tmp_path / "alias", "a.txt")) as fetched:
        assert fetched.body.read() == b"x"


@pytest.mark.parametrize("key", ["../outside.txt", "/etc/passwd", "a/../../outside.txt", "", ".", "a\0b", "a//b"])
def test_a_key_that_is_not_below_the_directory_is_poison(directory: Path, key: str) -> None:
    with pytest.raises(PoisonObject) as caught:
        LocalSource(directory).read_head(ListedObject(key, "etag", 6, 0), 10)
    assert caught.value.error_class == "OutsideSource"


def test_a_file_that_became_a_link_out_of_the_directory_is_not_read(directory: Path) -> None:
    (directory / "a.txt").write_text("x")
    before = listed(directory, "a.txt")
    (directory / "a.txt").unlink()
    (directory / "a.txt").symlink_to(directory.parent / "outside.txt")
    for etag in (before.etag, _token_of(directory.parent / "outside.txt")):
        with pytest.raises(ChangedMeanwhile):
            LocalSource(directory).read_head(ListedObject("a.txt", etag, 6, 0), 10)


def _token_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


@pytest.mark.parametrize("swapped", ["folder", "folder/a.txt"])
def test_a_link_that_appears_between_check_and_open_is_not_followed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    (directory / "folder").mkdir()
    (directory / "folder" / "a.txt").write_text("x")
    before = listed(directory, "folder/a.txt")
    other = directory.parent / "other"
    other.mkdir()
    (directory / "folder" / "a.txt").rename(other / "a.txt")  # the same inode: its token still fits
    (directory / "folder" / "a.txt").write_text("y")
    source, resolve = LocalSource(directory), Path.resolve

    def swapped_after_the_check(path: Path, strict: bool = False) -> Path:
        resolved = resolve(path, strict)
        (directory / swapped).rename(directory.parent / "away")
        (directory / swapped).symlink_to(other if swapped == "folder" else other / "a.txt")
        return resolved

    monkeypatch.setattr(Path, "resolve", swapped_after_the_check)
    with pytest.raises(ChangedMeanwhile):
        source.read_head(before, 10)


def test_a_file_that_became_a_pipe_does_not_block(directory: Path) -> None:
    (directory / "a").write_text("x")
    before = listed(directory, "a")
    (directory / "a").unlink()
    os.mkfifo(directory / "a")
    with pytest.raises(ChangedMeanwhile):
        LocalSource(directory).read_head(before, 10)


def test_a_file_rewritten_while_it_is_read_is_changed_meanwhile(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "a.txt"
    path.write_bytes(b"x" * 100)
    before = listed(directory, "a.txt")
    write = os.read

    def rewritten_while_reading(descriptor: int, size: int) -> bytes:
        path.write_bytes(b"y" * 100)
        return write(descriptor, size)

    monkeypatch.setattr(os, "read", rewritten_while_reading)
    with pytest.raises(ChangedMeanwhile), LocalSource(directory).fetch(before):
        pass


def test_a_file_that_became_a_folder_is_changed_meanwhile(directory: Path) -> None:
    (directory / "a").write_text("x")
    before = listed(directory, "a")
    (directory / "a").unlink()
    (directory / "a").mkdir()
    with pytest.raises(ChangedMeanwhile):
        LocalSource(directory).read_head(before, 10)
    with pytest.raises(ChangedMeanwhile):
        LocalSource(directory).read_head(ListedObject("a/b", "etag", 1, 0), 10)


def test_the_same_size_and_time_in_a_new_file_is_a_new_version(directory: Path) -> None:
    (directory / "a").write_text("old")
    before, status = listed(directory, "a"), (directory / "a").stat()
    (directory / "b").write_text("new")
    (directory / "b").rename(directory / "a")
    os.utime(directory / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert listed(directory, "a").etag != before.etag


def test_a_name_that_is_not_utf8_stops_the_listing_and_is_named(directory: Path) -> None:
    Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9.txt")).write_text("x")
    with pytest.raises(ConfigError, match=r"caf\\xe9\.txt.*rename"):
        keys(directory)


def test_a_missing_directory_is_a_config_error(directory: Path) -> None:
    for missing in (directory / "none", directory.parent / "outside.txt"):
        with pytest.raises(ConfigError, match="there is no directory"):
            keys(missing)


def test_no_room_for_a_large_body_is_a_transient_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("include.embedding_etl.storage.spool.MEMORY_LIMIT_BYTES", 1000)
    (directory / "a").write_bytes(b"x" * 100_000)
    large = listed(directory, "a")
    request.getfixturevalue("tiny_disk")
    with pytest.raises(TransientError, match="TMPDIR"), LocalSource(directory).fetch(large):
        pass


def test_file_uris_and_relative_paths_are_understood(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "with space").mkdir()
    (directory / "with space" / "a").write_text("x")
    source = open_source(SourceSettings(uri=f"file://{directory}/with%20space"), Places(_env_file=None))
    assert [each.key for each in source.list()] == ["a"]
    monkeypatch.chdir(directory)  # ./path counts from the project's root, wherever a worker runs
    keys_of_project = {each.key for each in open_source(SourceSettings(uri="./include"), Places(_env_file=None)).list()}
    assert "embedding_etl/errors.py" in keys_of_project
