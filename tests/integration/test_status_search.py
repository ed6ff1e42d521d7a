"""The Search page over a real pipeline: a lane of texts, and one of pictures that sentences find too."""

import gc
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from include.embedding_etl.status.patience import connect_for_a_page
from include.embedding_etl.status.uploads import MAX_BYTES
from tests.fixtures_media import make_film, make_tone, make_wav
from tests.fixtures_models import SmallModels
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusClient, StatusPages
from tests.ports import free_port

HOSTILE = "<script>alert(1)</script>'\"{{7*7}}\x01"


def picture(colour: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (200, 120), colour).save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def pages(project: Project) -> StatusPages:
    project.put("red.txt", "a red kite over the sea")
    project.put("blue.txt", "a blue whale below the sea")
    # Longer than its one control character alone would allow: else it is no text.
    project.put("evil<b>.txt", f"kite {HOSTILE}" + " over the hills and far away" * 6)
    project.run()
    return StatusPages(project)


@pytest.fixture
def seeing(project: Project, small_models: SmallModels) -> StatusPages:
    """With a lane of pictures, whose model is a real architecture at a small size."""
    file = project.root / "pipelines" / f"{project.name}.yaml"
    document = yaml.safe_load(file.read_text())
    model = {"kind": "resnet", "id": str(small_models.path("resnet")), "weights": "path", "precision": "fp32"}
    document["lanes"]["image"] = {"accepts": ["image/*"], "model": model, "index": {"type": "FLAT", "params": {}}}
    file.write_text(yaml.safe_dump(document))
    project.put("red.txt", "a red kite over the sea")
    for colour in ("red", "green", "blue"):
        project.put(f"{colour}.png", picture(colour))
    project.run()
    return StatusPages(project)


TONES = {f"tone-{hertz}.wav": make_wav(make_tone(1.0, frequency_hz=hertz)) for hertz in (220, 880, 3520)}
FILMS = {
    f"{name}.mp4": make_film(pictures=[np.full((48, 48, 3), colour, np.uint8)] * 10, sound=make_tone(1.0, 48_000))
    for name, colour in {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}.items()
}


@pytest.fixture
def hearing(project: Project, small_models: SmallModels) -> StatusPages:
    """With a lane of sounds and one of films; both models are real architectures at a small size."""
    file = project.root / "pipelines" / f"{project.name}.yaml"
    document = yaml.safe_load(file.read_text())
    for lane, kind in {"audio": "whisper", "video": "perceiver"}.items():
        model = {"kind": kind, "id": str(small_models.path(kind)), "weights": "path", "precision": "fp32"}
        document["lanes"][lane] = {"accepts": [f"{lane}/*"], "model": model, "index": {"type": "FLAT", "params": {}}}
    file.write_text(yaml.safe_dump(document))
    for key, body in {**TONES, **FILMS}.items():
        project.put(key, body)
    project.run()
    return StatusPages(project)


def found_keys(html: str) -> list[str]:
    return re.findall(r'<a class="key" [^>]*>([^<]*)</a>', html)


def upload(client: StatusClient, name: str, data: bytes, **fields: Any) -> Any:
    return client.post(
        "/search/file", data=fields, files={"file": (name, data)}, headers={"x-csrf-token": client.token()}
    )


def test_a_sentence_finds_what_is_like_it_first(pages: StatusPages) -> None:
    page = pages("viewer").get("/search?q=red+kite").text
    assert found_keys(page)[0] == "red.txt"
    assert "a red kite over the sea" in page
    assert "Found in lane text" in page
    assert re.search(r"Score \d\.\d{4}", page)
    assert f'href="/objects/{pages.project.name}?key=red.txt"' in page


def test_a_filter_narrows_the_hits_down(pages: StatusPages) -> None:
    page = pages("viewer").get("/search", params={"q": "red kite", "filter": "object_key=blue.txt"}).text
    assert found_keys(page) == ["blue.txt"]
    assert len(found_keys(pages("viewer").get("/search?q=kite&top=2").text)) == 2


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"filter": "nonsense"}, "expected field=value"),
        ({"filter": "colour=red"}, "cannot filter by"),
        ({"lane": "nosuch"}, "has no lane"),
    ],
)
def test_what_cannot_be_searched_is_said_in_place(pages: StatusPages, query: dict[str, str], reason: str) -> None:
    page = pages("viewer").get("/search", params={"q": "kite", **query})
    assert page.status_code == 200
    assert 'class="problem" role="alert"' in page.text
    assert reason in page.text


def test_a_picture_finds_itself_with_a_preview_to_see(seeing: StatusPages) -> None:
    client = seeing("viewer")
    answer = upload(client, "query.png", picture("green"), pipeline=seeing.project.name)
    assert answer.status_code == 200
    assert found_keys(answer.text)[0] == "green.png"
    assert "Found in lane image" in answer.text
    source = re.search(r'<img class="thumb" src="([^"]+)"', answer.text)
    assert source
    assert client.get(source.group(1).replace("&amp;", "&")).headers["content-type"] == "image/webp"


@pytest.mark.parametrize(
    ("key", "lane", "player"),
    [("tone-880.wav", "audio", "audio controls"), ("green.mp4", "video", 'video class="thumb" controls')],
)
def test_a_sound_finds_a_sound_and_a_film_a_film_each_with_a_player_at_its_place(
    hearing: StatusPages, key: str, lane: str, player: str
) -> None:
    client, body = hearing("viewer"), {**TONES, **FILMS}[key]
    answer = upload(client, "query" + Path(key).suffix, body, pipeline=hearing.project.name)  # no lane is chosen
    assert answer.status_code == 200
    assert f"Found in lane {lane}" in answer.text
    assert found_keys(answer.text)[0] == key
    assert sorted(found_keys(answer.text)) == sorted(TONES if lane == "audio" else FILMS)
    assert re.search(r"Score 1\.0000|Score 0\.999\d", answer.text)
    source = re.search(rf'<{player} [^>]*src="([^"#]+)#t=0\.0,1\.0"', answer.text)
    assert source
    played = client.get(source.group(1).replace("&amp;", "&"), headers={"range": "bytes=0-99"})
    assert (played.status_code, played.content) == (206, body[:100])


def test_a_sound_is_no_query_for_films(hearing: StatusPages) -> None:
    answer = upload(hearing("viewer"), "q.wav", TONES["tone-220.wav"], pipeline=hearing.project.name, lane="video")
    assert "not by audio" in answer.text
    assert found_keys(answer.text) == []


def test_a_lane_that_does_not_read_the_upload_says_so(seeing: StatusPages) -> None:
    answer = upload(seeing("viewer"), "query.png", picture("green"), pipeline=seeing.project.name, lane="text")
    assert "is searched by text, not by image" in answer.text


def test_weights_that_are_missing_are_said_in_place(seeing: StatusPages, tmp_path: Path) -> None:
    file = seeing.project.root / "pipelines" / f"{seeing.project.name}.yaml"
    with seeing.project.open() as runtime:
        live = runtime.ledger.collections.live(seeing.project.name, "image")
    assert live is not None
    lane: Any = live.settings["lane"]
    weights, aside = Path(lane["model"]["id"]), tmp_path / "aside"
    shutil.move(weights, aside)
    try:
        answer = upload(seeing("viewer"), "q.png", picture("red"), pipeline=seeing.project.name, lane="image")
    finally:
        shutil.move(aside, weights)
    assert file.exists()
    assert answer.status_code == 200
    assert 'class="problem" role="alert"' in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("broken.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "broken.png: "),
        ("x.zip", b"PK\x03\x04" + b"\0" * 50, "allowed are texts, pictures, sounds and films"),
        ("empty.png", b"", "Choose a picture"),
        ("<img src=x>.bin", b"\0\1\2\3" * 50, "&lt;img src=x&gt;.bin: is application/octet-stream"),
    ],
)
def test_an_upload_that_is_no_query_is_said_in_place(seeing: StatusPages, name: str, data: bytes, reason: str) -> None:
    answer = upload(seeing("viewer"), name, data, pipeline=seeing.project.name, lane="image")
    assert answer.status_code == 200
    assert reason in answer.text
    assert "/tmp/" not in answer.text
    assert "<img src=x" not in answer.text


def test_an_upload_beyond_the_limit_is_not_read(pages: StatusPages) -> None:
    client = pages("viewer")
    answer = upload(client, "large.png", b"\0" * (MAX_BYTES + 100_000), pipeline=pages.project.name)
    assert "too large: at most 20 MiB" in answer.text
    headers = {"x-csrf-token": client.token(), "content-type": "multipart/form-data; boundary=x"}
    chunked = client.post("/search/file", content=iter([b"--x\r\n"] * 3), headers=headers)  # says no length
    assert "too large" in chunked.text


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_an_upload_leaves_no_file_open_whatever_comes_of_it(pages: StatusPages) -> None:
    client = pages("viewer")
    assert client.post("/search/file", files={"file": ("q.png", picture("red"))}).status_code == 403
    upload(client, "q.png", picture("red"), pipeline="nosuch")
    upload(client, "q.png", picture("red"), pipeline=pages.project.name, top="many")
    upload(client, "x" * 300 + ".png", b"\0" * (2 << 20), pipeline=pages.project.name)  # more than memory takes
    gc.collect()


def test_an_upload_needs_the_token_and_a_login_but_no_right_to_change(pages: StatusPages) -> None:
    files = {"file": ("q.png", picture("red"))}
    assert pages("").post("/search/file", files=files).status_code == 401
    assert pages("viewer").post("/search/file", files=files).status_code == 403
    wrong = {"x-csrf-token": pages("admin").token()}
    assert pages("viewer").post("/search/file", files=files, headers=wrong).status_code == 403
    assert pages("viewer").post("/search/file", data={"q": "x"}).status_code == 403


def test_hostile_texts_and_queries_are_text_and_nothing_else(pages: StatusPages) -> None:
    client = pages("viewer")
    for query in ({"q": "kite"}, {"q": HOSTILE}, {"q": "kite", "filter": HOSTILE}, {"q": "x", "lane": HOSTILE}):
        page = client.get("/search", params=query).text
        assert not re.search(r"<script>alert|evil<b>", page)
    page = client.get("/search?q=kite").text
    assert "evil&lt;b&gt;.txt" in page
    assert "kite &lt;script&gt;alert(1)&lt;/script&gt;&#39;&#34;{{7*7}}␁" in page


def test_without_milvus_the_page_says_so_in_place(pages: StatusPages) -> None:
    pages.project.open_store = connect_for_a_page
    pages.places["milvus_uri"] = f"http://127.0.0.1:{free_port()}"
    page = pages("viewer").get("/search?q=kite")
    assert page.status_code == 200
    assert 'class="problem" role="alert"' in page.text
    assert "127.0.0.1" in page.text


def test_before_the_first_run_the_page_says_what_to_do(project: Project) -> None:
    page = StatusPages(project)("viewer").get("/search?q=kite")
    assert "run an ingestion first" in page.text
