"""Decoding happens in child processes: whatever a file does to its decoder costs that file, and nothing else."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
import pytest

from include.embedding_etl.decoding import process
from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.errors import ConfigError, PoisonObject, TransientError
from include.embedding_etl.types import Chunk, ChunkSettings, Limits, ModelInput
from tests.fixtures_media import (
    RATE_HZ,
    SENTENCE,
    make_film,
    make_noise,
    make_pdf,
    make_picture,
    make_png_bomb,
    make_sound,
    make_tone,
    make_wav,
)

ROOT = Path(__file__).resolve().parents[2]
Decode = Callable[..., Iterator[Chunk]]


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(1) as decoders:
        yield decoders


@pytest.fixture
def decode(pool: DecoderPool, every_modality: ModelInput) -> Decode:
    def start(data: bytes | BinaryIO, media_type: str = "text/plain", limits: Limits | None = None) -> Iterator[Chunk]:
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        return pool.decode("a key", body, media_type, every_modality, ChunkSettings(), limits or Limits())

    return start


def poison(chunks: Iterator[Chunk]) -> PoisonObject:
    with pytest.raises(PoisonObject) as caught:
        list(chunks)
    assert caught.value.key == "a key"
    return caught.value


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def long_wav(seconds: int = 60) -> bytes:
    return make_wav(make_tone(seconds))


def test_every_modality_crosses_the_border_unchanged(decode: Decode) -> None:
    (text,) = decode(SENTENCE.encode())
    assert (text.ordinal, text.start, text.end, text.text) == (0, 0, len(SENTENCE), SENTENCE)
    (picture,) = decode(make_picture("PNG"), "image/png")
    assert picture.pixels is not None
    assert picture.pixels.shape == (48, 64, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels[2, 2].tolist() == [220, 30, 30]
    tone = make_tone(3)
    first, second = decode(make_wav(tone), "audio/wav")
    assert second.samples is not None
    assert (first.start, first.end, second.start, second.end) == (0, 2000, 2000, 3000)
    assert np.abs(second.samples - tone[2 * RATE_HZ :]).max() < 1e-3
    (film,) = decode(make_film(sound=make_tone(3, 48_000)), "video/mp4")
    assert film.frames is not None
    assert film.samples is not None
    assert film.frames.shape == (8, 32, 32, 3)
    assert film.samples.shape == (RATE_HZ // 2,)


def test_bodies_in_memory_in_named_and_in_unnamed_files_are_read_from_their_beginning(decode: Decode) -> None:
    with (
        tempfile.NamedTemporaryFile() as named,
        tempfile.TemporaryFile() as unnamed,
        tempfile.SpooledTemporaryFile() as spooled,
    ):
        for body in (named, unnamed, spooled, io.BytesIO()):
            body.write(SENTENCE.encode())  # left at its end, in a buffer
            body.flush()
            assert [chunk.text for chunk in decode(body)] == [SENTENCE]


def test_one_body_is_decoded_by_two_processes_at_once(every_modality: ModelInput) -> None:
    with DecoderPool(2) as pool, tempfile.TemporaryFile() as body:
        body.write(long_wav())
        body.flush()
        one, two = (pool.decode("k", body, "audio/wav", every_modality, ChunkSettings(), Limits()) for _ in range(2))
        pairs = list(zip(one, two, strict=True))
        assert len(pairs) == 30
        for first, second in pairs:
            assert first.samples is not None
            assert second.samples is not None
            assert np.array_equal(first.samples, second.samples)


def test_keys_may_be_anything(pool: DecoderPool, every_modality: ModelInput) -> None:
    key = '../ä\n"\x00 😀' + "x" * 1_000
    chunks = pool.decode(key, io.BytesIO(b""), "text/plain", every_modality, ChunkSettings(), Limits())
    with pytest.raises(PoisonObject) as caught:
        list(chunks)
    assert caught.value.key == key


def test_many_threads_share_a_few_processes(every_modality: ModelInput) -> None:
    with DecoderPool(2) as pool:

        def read(number: int) -> str:
            body = io.BytesIO(f"text {number}".encode())
            (chunk,) = pool.decode("k", body, "text/plain", every_modality, ChunkSettings(), Limits())
            return chunk.text

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(read, range(64))) == [f"text {number}" for number in range(64)]
        assert len(pool.pids()) <= 2


def test_a_process_is_reused_and_outlives_the_thread_that_caused_its_start(pool: DecoderPool, decode: Decode) -> None:
    thread = threading.Thread(target=lambda: list(decode(b"one")))
    thread.start()
    thread.join()
    before = pool.pids()
    assert [chunk.text for chunk in decode(b"two")] == ["two"]
    assert pool.pids() == before


def test_start_up_never_imports_torch(decode: Decode, pool: DecoderPool) -> None:
    list(decode(b"text"))
    maps = Path(f"/proc/{pool.pids()[0]}/maps").read_text()
    assert "torch" not in maps
    assert "ctranslate2" not in maps


def test_a_process_is_replaced_after_many_objects_since_native_decoders_leak(
    decode: Decode, pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_OBJECTS_PER_PROCESS", 2)
    seen = []
    for _ in range(4):
        list(decode(b"text"))
        seen += pool.pids()
    assert seen[0] == seen[1] != seen[2] == seen[3]


# ---- poison


@pytest.mark.parametrize(
    ("data", "media_type", "error_class"),
    [
        (make_pdf(["secret"], "password"), "application/pdf", "EncryptedPdf"),
        (make_picture("JPEG")[:400], "image/jpeg", "TruncatedImage"),
        (make_noise(3_000), "text/plain", "NotText"),
        (make_wav(make_tone(0)), "audio/wav", "EmptyAudio"),
        (b"", "text/plain", "NothingToEmbed"),
        (b"MZ", "application/x-executable", "UnsupportedMediaType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pain_20_what_the_child_refuses_is_refused_here_in_the_same_words_and_the_child_goes_on(
    decode: Decode, pool: DecoderPool, data: bytes, media_type: str, error_class: str
) -> None:
    list(decode(b"before"))
    before = pool.pids()
    error = poison(decode(data, media_type))
    assert error.error_class == error_class
    assert error.stage in ("extract", "chunk")
    assert error.message
    assert [chunk.text for chunk in decode(b"after")] == ["after"]
    assert pool.pids() == before


def test_pain_20_an_error_that_nobody_foresaw_is_recorded_under_its_own_name(decode: Decode) -> None:
    with tempfile.NamedTemporaryFile() as body:
        os.set_blocking(body.fileno(), True)
        write_only = os.open(body.name, os.O_WRONLY)
        with os.fdopen(write_only, "wb") as unreadable:
            error = poison(decode(unreadable))
    assert error.error_class == "OSError"
    assert "Bad file descriptor" in error.message


def test_an_unreadable_tokenizer_stops_the_run_and_not_the_object(
    pool: DecoderPool, every_modality: ModelInput, tmp_path: Path
) -> None:
    broken = replace(every_modality, tokenizer_path=str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match=r"missing\.json"):
        list(pool.decode("k", io.BytesIO(b"text"), "text/plain", broken, ChunkSettings(), Limits()))


def test_a_relative_tokenizer_path_means_the_same_file_in_the_child(
    pool: DecoderPool, every_modality: ModelInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(every_modality.tokenizer_path).parent)
    relative = replace(every_modality, tokenizer_path="tokenizer.json")
    assert list(pool.decode("k", io.BytesIO(b"text"), "text/plain", relative, ChunkSettings(), Limits()))


# ---- death, hangs and greed


def test_pain_21_a_killed_decoder_costs_its_object_only(decode: Decode, pool: DecoderPool) -> None:
    chunks = decode(long_wav(), "audio/wav")
    next(chunks)
    (victim,) = pool.pids()
    os.kill(victim, signal.SIGKILL)
    error = poison(chunks)
    assert error.error_class == "DecoderCrashed"
    assert "SIGKILL" in error.message
    assert not psutil.pid_exists(victim)  # no zombie either
    assert [chunk.text for chunk in decode(b"after")] == ["after"]


def test_pain_21_a_segmentation_fault_is_named(decode: Decode, pool: DecoderPool) -> None:
    chunks = decode(long_wav(), "audio/wav")
    next(chunks)
    os.kill(pool.pids()[0], signal.SIGSEGV)
    assert "SIGSEGV" in poison(chunks).message


def test_pain_21_a_hanging_decoder_is_stopped_within_its_time(decode: Decode, pool: DecoderPool) -> None:
    list(decode(b"before"))
    (victim,) = pool.pids()
    os.kill(victim, signal.SIGSTOP)
    started = time.monotonic()
    error = poison(decode(b"text", limits=Limits(decode_timeout_s=0.5)))
    assert error.error_class == "DecodeTimeout"
    assert 0.4 < time.monotonic() - started < 20
    assert not psutil.pid_exists(victim)
    assert [chunk.text for chunk in decode(b"after")] == ["after"]


def test_pain_21_a_decoder_that_hangs_in_the_middle_is_stopped_too(decode: Decode, pool: DecoderPool) -> None:
    chunks = decode(long_wav(), "audio/wav", Limits(decode_timeout_s=0.5))
    next(chunks)
    os.kill(pool.pids()[0], signal.SIGSTOP)
    assert poison(chunks).error_class == "DecodeTimeout"


def test_time_that_the_reader_takes_is_not_the_decoders(decode: Decode) -> None:
    chunks = decode(long_wav(10), "audio/wav", Limits(decode_timeout_s=0.5))
    count = 0
    for _ in chunks:
        count += 1
        time.sleep(0.6 if count < 3 else 0)
    assert count == 5


def test_pain_21_memory_has_a_limit(decode: Decode) -> None:
    limits = Limits(max_pixels=400_000_000, decode_memory_bytes=256 << 20)
    error = poison(decode(make_png_bomb(), "image/png", limits))
    assert error.error_class == "OutOfMemory"
    assert "decode_memory_bytes" in error.message
    assert [chunk.text for chunk in decode(b"after")] == ["after"]


def test_an_idle_decoder_that_died_is_replaced_without_a_word(decode: Decode, pool: DecoderPool) -> None:
    list(decode(b"before"))
    (victim,) = pool.pids()
    os.kill(victim, signal.SIGKILL)
    assert [chunk.text for chunk in decode(b"after")] == ["after"]
    assert victim not in pool.pids()


def test_a_reader_that_stops_early_frees_the_process_for_the_next_object(decode: Decode) -> None:
    chunks = decode(long_wav(), "audio/wav")
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert [chunk.text for chunk in decode(b"next")] == ["next"]


def test_closing_the_pool_while_others_read_blames_no_object(every_modality: ModelInput) -> None:
    errors: list[Exception] = []
    with DecoderPool(1) as pool:
        chunks = pool.decode("k", io.BytesIO(long_wav()), "audio/wav", every_modality, ChunkSettings(), Limits())
        next(chunks)

        def wait_for_a_slot() -> None:
            try:
                list(pool.decode("k", io.BytesIO(b"x"), "text/plain", every_modality, ChunkSettings(), Limits()))
            except TransientError as error:
                errors.append(error)

        waiting = threading.Thread(target=wait_for_a_slot)
        waiting.start()
    with pytest.raises(TransientError):
        list(chunks)
    waiting.join(60)
    assert len(errors) == 1


# ---- manners


def test_children_have_no_sockets_but_their_own_and_no_secrets(
    decode: Decode, pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(False)
        list(decode(b"text"))
        child = psutil.Process(pool.pids()[0])
        links = [str(link.readlink()) for link in Path(f"/proc/{child.pid}/fd").iterdir()]
    assert sum(link.startswith("socket:") for link in links) == 1
    environment = child.environ()
    assert "topsecret" not in json.dumps(environment)
    assert environment["OMP_NUM_THREADS"] == "1"


def test_children_leave_ctrl_c_to_the_parent(decode: Decode, pool: DecoderPool) -> None:
    list(decode(b"before"))
    before = pool.pids()
    os.kill(before[0], signal.SIGINT)
    time.sleep(0.1)
    assert [chunk.text for chunk in decode(b"after")] == ["after"]
    assert pool.pids() == before


def test_leaving_the_pool_leaves_no_process(every_modality: ModelInput) -> None:
    with DecoderPool(2) as pool:
        one, two = (
            pool.decode("k", io.BytesIO(long_wav()), "audio/wav", every_modality, ChunkSettings(), Limits())
            for _ in range(2)
        )
        next(one)
        next(two)
        pids = pool.pids()
        assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


_PARENT = """
import io, sys, time
from include.embedding_etl.decoding import process
from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.types import ChunkSettings, Limits, ModelInput
pool = DecoderPool(2)
model = ModelInput(("text", "audio"), max_tokens=50, sample_rate_hz=16000, window_ms=100)
list(pool.decode("k", io.BytesIO(b"text"), "text/plain", model, ChunkSettings(), Limits()))
busy = pool.decode("k", open(sys.argv[1], "rb"), "audio/wav", model, ChunkSettings(), Limits())
next(busy)
idle = pool.decode("k", io.BytesIO(b"text"), "text/plain", model, ChunkSettings(), Limits())
list(idle)
print(*pool.pids(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stopped_first", [False, True], ids=["working", "hanging"])
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path, stopped_first: bool) -> None:
    recording = tmp_path / "long.wav"
    recording.write_bytes(long_wav())
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(recording)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    if stopped_first:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # whoever inherited it may reap it late
    except psutil.NoSuchProcess:
        return False


def test_pain_21_memory_is_flat_over_ten_minutes_of_sound(pool: DecoderPool, every_modality: ModelInput) -> None:
    minutes = 10
    with tempfile.TemporaryFile() as body:
        body.write(make_sound("flac", "flac", make_tone(minutes * 60), RATE_HZ, "mono"))
        body.flush()
        resident = []
        ends = 0
        for chunk in pool.decode("k", body, "audio/flac", every_modality, ChunkSettings(), Limits()):
            ends = chunk.end
            if chunk.ordinal in (10, 290):
                resident.append(psutil.Process(pool.pids()[0]).memory_info().rss)
    assert ends == minutes * 60_000
    assert resident[1] - resident[0] < 8 << 20  # all of it would be 38 MB


def test_the_child_waits_for_a_slow_reader_instead_of_filling_memory(
    pool: DecoderPool, every_modality: ModelInput
) -> None:
    chunks = pool.decode("k", io.BytesIO(long_wav(300)), "audio/wav", every_modality, ChunkSettings(), Limits())
    next(chunks)
    child = psutil.Process(pool.pids()[0])
    wait_until(lambda: child.status() == psutil.STATUS_SLEEPING)
    before = child.cpu_times().user
    time.sleep(0.3)
    assert child.cpu_times().user - before < 0.05
    assert len(list(chunks)) == 149
