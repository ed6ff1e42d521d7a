"""The pages of objects, their rows and previews, over a real pipeline."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.ledger.records import Letter
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.patience import connect_for_a_page
from include.embedding_etl.status.previews import Stretch, draw_first_frame, parse_range
from include.embedding_etl.types import Chunk, Entry, Limits, ObjectRecord
from include.embedding_etl.vectorstore.schema import row_id
from tests.fixtures_media import make_brightening, make_film
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusPages
from tests.ports import free_port

pytestmark = pytest.mark.both_ledgers

EVIL = "<script>alert(1)<|script>'\"{{7*7}}\x01\u202e.txt"
EVIL_SHOWN = "&lt;script&gt;alert(1)&lt;|script&gt;&#39;&#34;{{7*7}}␁‹U+202E›.txt"
RESOLUTION = (640, 480)


def picture(size: tuple[int, int] = RESOLUTION) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(written, "PNG")
    return written.getvalue()


def sound() -> bytes:
    import wave

    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * 8000)
    return written.getvalue()


@pytest.fixture
def pages(project: Project) -> StatusPages:
    """Texts in one lane; a picture, a sound, an SVG and an HTML file; one failure."""
    project.thresholds = {"max_failed_fraction": 1.0}
    project.configure()
    project.put("a/long.txt", "".join(f"Sentence number {number} about ships. " for number in range(300)))
    project.put("a/near.txt", "Sentence number 7 about ships")
    project.put("a/blank.txt", " \n ")
    project.put("empty.txt", "")
    project.put(EVIL, "<img src=x onerror=alert(2)> {{7*7}} 'text' \"of it\"")
    project.put("p.png", picture())
    project.put("s.wav", sound())
    project.put("drawing.svg", "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(3)</script></svg>")
    project.put("page.html", "<html><script>alert(4)</script>words</html>")
    project.run()
    return StatusPages(project)


def shown_keys(html: str) -> list[str]:
    return re.findall(r'<th scope="row" class="key"><a [^>]*>([^<]*)</a>', html)


def test_objects_are_found_by_how_their_keys_begin(pages: StatusPages) -> None:
    client = pages("viewer")
    assert shown_keys(client.get("/objects?prefix=a/").text) == ["a/blank.txt", "a/long.txt", "a/near.txt"]
    assert shown_keys(client.get("/objects?prefix=a/near.txt").text) == ["a/near.txt"]
    nothing = client.get("/objects?prefix=A/").text
    assert "No key begins with “A/”" in nothing
    assert len(shown_keys(client.get("/objects").text)) == 9


def test_every_page_of_objects_is_reached(pages: StatusPages) -> None:
    with pages.project.open() as runtime:
        records = [ObjectRecord(f"many/{n:03d}", "e", 1, 1, "text/plain", "") for n in range(120)]
        runtime.ledger.objects.put(pages.project.name, records)
    client, seen, path = pages("viewer"), list[str](), "/objects?prefix=many/"
    while path:
        page = client.get(path).text
        seen += shown_keys(page)
        found = re.search(r'<a href="([^"]+)">Next page</a>', page)
        path = found.group(1).replace("&amp;", "&") if found else ""
    assert seen == [f"many/{n:03d}" for n in range(120)]


def test_the_list_says_what_became_of_each_object(pages: StatusPages) -> None:
    pages.project.put("z-new.txt", "not indexed yet")
    with pages.project.open() as runtime:
        record = ObjectRecord("z-new.txt", "e", 1, 1, "text/plain", "")
        runtime.ledger.objects.put(pages.project.name, [record])
        runtime.ledger.objects.mark_vanished(pages.project.name, ["a/near.txt"])
    page = pages("viewer").get("/objects").text
    rows = {key: row for row in page.split("<tr>") for key in shown_keys(row)}
    for key, words in {
        "a/long.txt": "text: indexed",
        "a/blank.txt": "text: dead letter: NothingToEmbed",
        "a/near.txt": "text: rows wait to be deleted",
        "empty.txt": "skipped: empty",
        "p.png": "no lane takes image/png",
        "z-new.txt": "text: pending",
    }.items():
        assert words in rows[key], key


def test_an_object_shows_versions_model_run_and_ids(pages: StatusPages) -> None:
    client = pages("viewer")
    page = client.get(f"/objects/{pages.project.name}?key=a/long.txt").text
    with pages.project.open() as runtime:
        record = runtime.ledger.objects.get(pages.project.name, "a/long.txt")
        live = runtime.ledger.collections.live(pages.project.name, "text")
    assert record is not None
    assert live is not None
    for fact in (
        record.etag,
        record.content_hash,
        live.name,
        live.fingerprint[:16],
        "word-hash",
        "run-1",
        "text/plain",
    ):
        assert fact in page
    path = re.search(r'hx-get="([^"]+)" hx-trigger="load"', page)
    assert path
    rows = client.get(path.group(1).replace("&amp;", "&")).text
    assert row_id(pages.project.name, "text", "a/long.txt", 0) in rows
    assert "Sentence number 0 about ships." in rows


def test_rows_come_page_by_page_until_the_last(pages: StatusPages) -> None:
    client, path, ids = pages("viewer"), f"/objects/{pages.project.name}/chunks?key=a/long.txt&lane=text", list[str]()
    while path:
        fragment = client.get(path).text
        ids += re.findall(r'<td class="key whole">(\w{32})</td>', fragment)
        found = re.search(r'<a href="([^"]+)"[^>]*>Later rows</a>', fragment)
        path = found.group(1).replace("&amp;", "&") if found else ""
    assert len(ids) > 20
    assert ids == [row_id(pages.project.name, "text", "a/long.txt", number) for number in range(len(ids))]


def test_a_row_that_milvus_lost_is_called_missing(pages: StatusPages) -> None:
    with pages.project.open() as runtime:
        live = runtime.ledger.collections.live(pages.project.name, "text")
        assert live is not None
        runtime.store.delete(live.name, [row_id(pages.project.name, "text", "a/near.txt", 0)])
    fragment = pages("viewer").get(f"/objects/{pages.project.name}/chunks?key=a/near.txt&lane=text").text
    assert "Milvus does not have this row" in fragment


def test_neighbours_are_the_nearest_rows_without_the_row_itself(pages: StatusPages) -> None:
    path = f"/objects/{pages.project.name}/neighbours?key=a/near.txt&lane=text&ordinal=0"
    asked_before = len(pages.project.endpoint.texts)
    fragment = pages("viewer").get(path).text
    found = re.findall(r'<a class="key" [^>]*>([^<]*)</a>', fragment)
    assert found[0] == "a/long.txt"
    assert "a/near.txt" not in found
    assert len(pages.project.endpoint.texts) == asked_before  # no model was needed


def test_the_failures_of_an_object_are_on_its_page(pages: StatusPages) -> None:
    page = pages("viewer").get(f"/objects/{pages.project.name}?key=a/blank.txt").text
    assert "NothingToEmbed" in page
    assert '<span class="sign bad">open</span>' in page


@pytest.mark.parametrize("path", ["/objects/{}?key=unknown", "/objects/nosuch?key=a", "/preview/{}?key=unknown"])
def test_what_is_not_there_is_said_plainly(pages: StatusPages, path: str) -> None:
    answer = pages("viewer").get(path.format(pages.project.name))
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_a_hostile_object_is_text_and_nothing_else(pages: StatusPages) -> None:
    with pages.project.open() as runtime:
        record = runtime.ledger.objects.get(pages.project.name, EVIL)
        assert record is not None
        meta = {"<b>name</b>": "<script>alert(5)</script>"}
        runtime.ledger.objects.set_content(pages.project.name, [(record.key, record.etag, record.content_hash, meta)])
    client, name = pages("viewer"), pages.project.name
    answers = [
        client.get("/objects"),
        client.get("/objects", params={"prefix": EVIL}),
        client.get(f"/objects/{name}", params={"key": EVIL}),
        client.get(f"/objects/{name}/chunks", params={"key": EVIL, "lane": "text"}),
        client.get(f"/objects/{name}/neighbours", params={"key": EVIL, "lane": "text", "ordinal": 0}),
        client.get(f"/objects/{name}/neighbours", params={"key": "a/near.txt", "lane": "text", "ordinal": 0}),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert not re.search(r"<script>alert|<img src=x|<b>name", answer.text)
    assert EVIL_SHOWN in answers[0].text
    assert "&lt;script&gt;alert(5)&lt;/script&gt;" in answers[2].text
    assert "&lt;img src=x onerror=alert(2)&gt; {{7*7}}" in answers[3].text
    assert shown_keys(answers[1].text)


def test_without_milvus_the_ledgers_part_is_shown_and_the_rest_says_why(pages: StatusPages) -> None:
    pages.project.open_store = connect_for_a_page
    pages.places["milvus_uri"] = f"http://127.0.0.1:{free_port()}"
    client, name = pages("viewer"), pages.project.name
    assert client.get(f"/objects/{name}?key=a/near.txt").status_code == 200
    for path in ("chunks?key=a/near.txt&lane=text", "neighbours?key=a/near.txt&lane=text&ordinal=0"):
        answer = client.get(f"/objects/{name}/{path}")
        assert answer.status_code == 200
        assert 'class="problem" role="alert"' in answer.text
        assert "127.0.0.1" in answer.text
        assert "Traceback" not in answer.text


# ---- what a run has made


def test_the_objects_of_a_run_are_found_and_a_later_run_takes_over(pages: StatusPages) -> None:
    project, client = pages.project, pages("viewer")
    first = shown_keys(client.get("/objects?run=run-1").text)
    assert first == sorted(first, key=str.encode)
    assert {"a/long.txt", "a/near.txt", "page.html"} <= set(first)
    assert not {"a/blank.txt", "p.png"} & set(first)  # a dead letter, and what no lane takes
    project.put("a/near.txt", "another sentence about ships")
    project.run()
    assert shown_keys(client.get("/objects?run=run-2").text) == ["a/near.txt"]
    assert "a/near.txt" not in shown_keys(client.get("/objects?run=run-1").text)
    assert shown_keys(client.get("/objects?run=run-1&prefix=a/").text) == ["a/long.txt"]
    nothing = client.get("/objects", params={"run": EVIL}).text
    assert "No rows are of the run “&lt;script&gt;" in nothing
    assert "<script>alert" not in nothing


def test_every_page_of_a_run_is_reached(pages: StatusPages) -> None:
    keys = [f"many/{n:03d}" for n in range(120)]
    with pages.project.open() as runtime:
        live = runtime.ledger.collections.live(pages.project.name, "text")
        assert live is not None
        lease = runtime.lease(live.name, "other")
        runtime.ledger.objects.put(
            pages.project.name, [ObjectRecord(key, "e", 1, 1, "text/plain", "") for key in keys if key != "many/003"]
        )
        runtime.ledger.entries.commit(
            lease, live.name, [Entry(key, "e", 1, "h", 1, 1, "ingest__x/b c") for key in keys]
        )
    client, seen, path = pages("viewer"), list[str](), "/objects?prefix=many/&run=ingest__x/b c"
    while path:
        page = client.get(path).text
        assert '<a href="/dags/ingest__x/runs/b c">Open the run in Airflow</a>' in page
        seen += shown_keys(page)
        found = re.search(r'<a href="([^"]+)">Next page</a>', page)
        path = found.group(1).replace("&amp;", "&") if found else ""
    assert seen == [key for key in keys if key != "many/003"]  # rows that the ledger knows no object of


def test_the_link_of_a_task_leads_to_its_only_object_or_to_all_of_its_run(pages: StatusPages) -> None:
    project, client = pages.project, pages("viewer", root_path="/embedding-etl", follow_redirects=False)
    name = project.name
    made = {"pipeline": name, "run": "run-1", "shard": "text/0"}
    everything = f"/embedding-etl/objects?pipeline={name}&run=run-1"

    def target(**changes: str) -> str:
        answer = client.get("/embedding-etl/made", params={**made, **changes})
        assert answer.status_code == 303
        return str(answer.headers["location"])

    assert target() == everything
    project.put("new ä?#.txt", "only this is new")
    project.run()
    assert target(run="run-2") == f"/embedding-etl/objects/{name}?key=new+%C3%A4%3F%23.txt"
    for shard in ("", "text/7", "../../x", "text/0/../1"):  # no such file, or no such shard
        assert target(shard=shard) == everything
    assert client.get("/embedding-etl/made", params={**made, "pipeline": "nosuch"}).status_code == 404


def test_an_object_leads_to_the_tasks_and_logs_behind_it(pages: StatusPages) -> None:
    project = pages.project
    with project.open() as runtime:
        live = runtime.ledger.collections.live(project.name, "text")
        assert live is not None
        lease = runtime.lease(live.name, "other")
        entry = runtime.ledger.entries.of_object([live.name], "a/near.txt")[live.name]
        runtime.ledger.entries.commit(lease, live.name, [replace(entry, run_id="ingest__x/r")])
        letter = Letter("a/near.txt", "old", "extract", "NoText", "no", "ingest__x/r", "embed text/12")
        runtime.ledger.dead_letters.record(project.name, "text", live.fingerprint, [letter])
    page = pages("viewer").get(f"/objects/{project.name}?key=a/near.txt").text
    assert '<a href="/dags/ingest__x/runs/r/tasks/group/text.shard">its tasks' in page
    log = '<a href="/dags/ingest__x/runs/r/tasks/text.shard.embed/mapped/12">'
    assert f"{log}embed text/12: log" in page
    assert log in pages("viewer").get("/failures?key=a/near.txt").text
    without = pages("viewer").get(f"/objects/{project.name}?key=a/blank.txt").text  # a run of the command line
    assert "embed text/0" in without
    assert "/dags/" not in without


# ---- previews


def test_a_picture_is_drawn_again_and_small(pages: StatusPages) -> None:
    answer = pages("viewer").get(f"/preview/{pages.project.name}?key=p.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, max(image.size)) == ("WEBP", 320)
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("inline")


def test_sound_is_streamed_whole_or_in_parts(pages: StatusPages) -> None:
    client, path = pages("viewer"), f"/preview/{pages.project.name}?key=s.wav"
    whole = client.get(path)
    assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "audio/wav", sound())
    part = client.get(path, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, sound()[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(sound())}"
    assert part.headers["content-security-policy"].startswith("sandbox")
    assert client.get(path, headers={"range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize("key", ["drawing.svg", "page.html", "a/near.txt"])
def test_nothing_else_is_served(pages: StatusPages, key: str) -> None:
    answer = pages("viewer").get(f"/preview/{pages.project.name}?key={key}")
    assert answer.status_code == 415
    assert "alert(" not in answer.text


@pytest.mark.parametrize("key", ["../ledger.db", "/etc/passwd", "a/../p.png", "http://127.0.0.1/p.png", "p.png\0"])
def test_only_keys_of_the_ledger_are_read(pages: StatusPages, key: str) -> None:
    assert pages("viewer").get(f"/preview/{pages.project.name}", params={"key": key}).status_code == 404


def test_the_ledgers_media_type_cannot_turn_bytes_into_a_page(pages: StatusPages) -> None:
    with pages.project.open() as runtime:
        record = runtime.ledger.objects.get(pages.project.name, "page.html")
        assert record is not None
        for media_type in ("image/png", "audio/x-html", "video/html"):
            changed = ObjectRecord(
                record.key, record.etag, record.size_bytes, record.last_modified_ms, media_type, record.content_hash
            )
            runtime.ledger.objects.put(pages.project.name, [changed])
            answer = pages("viewer").get(f"/preview/{pages.project.name}?key=page.html")
            assert answer.status_code in (415, 422)
            assert "alert(4)" not in answer.text


def test_a_picture_beyond_the_limits_is_not_decoded(pages: StatusPages) -> None:
    pages.project.configure(limits={"max_pixels": 1000}, thresholds={"max_failed_fraction": 1.0})
    answer = pages("viewer").get(f"/preview/{pages.project.name}?key=p.png")
    assert answer.status_code == 422
    assert "limits.max_pixels" in answer.text


def test_an_object_that_changed_or_went_is_said_plainly(pages: StatusPages) -> None:
    pages.project.remove("p.png")
    pages.project.put("s.wav", sound() + b"more")
    for key in ("p.png", "s.wav"):
        answer = pages("viewer").get(f"/preview/{pages.project.name}?key={key}")
        assert answer.status_code == 503
        assert "is gone or has another version by now" in answer.text.replace("&#39;", "'")


def test_previews_and_pages_ask_for_a_login(pages: StatusPages) -> None:
    for path in ("/objects", "/objects/x?key=a", "/preview/x?key=p.png", "/search", "/failures"):
        assert pages("").get(path).status_code == 401


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", (0, 100, True)),
        ("bytes=0-", (0, 100, False)),
        ("bytes=90-200", (90, 10, False)),
        ("bytes=-5", (95, 5, False)),
        ("bytes=-500", (0, 100, False)),
        ("bytes=7-3", (0, 100, True)),
        ("bytes=1-2,5-6", (0, 100, True)),
        ("bytes=٣-", (0, 100, True)),
        ("lines=1-2", (0, 100, True)),
        ("bytes=-", (0, 100, True)),
        ("bytes=100-", None),
    ],
)
def test_ranges_are_read_as_players_write_them(header: str, wanted: tuple[int, int, bool] | None) -> None:
    if wanted is None:
        with pytest.raises(Denied):
            parse_range(header, 100)
    else:
        assert parse_range(header, 100) == Stretch(wanted[0], wanted[1], 100, wanted[2])


# ---- posters of films


def film(**options: object) -> bytes:
    """Three seconds that begin nearly black, wider than high."""
    return make_film(pictures=make_brightening(30, 96, 64), **options)  # type: ignore[arg-type]


@pytest.fixture
def films(project: Project) -> StatusPages:
    project.put("a.txt", "words")
    project.put("film.mp4", film())
    project.put("film.mkv", film(container_format="matroska"))
    project.put("broken.mp4", film()[:2000])
    project.put("s.wav", sound())
    project.run()
    with project.open() as runtime:  # what a run takes for broken is known as a film all the same
        record = runtime.ledger.objects.get(project.name, "broken.mp4")
        assert record is not None
        runtime.ledger.objects.put(project.name, [replace(record, media_type="video/mp4", skip_reason="")])
    return StatusPages(project)


def poster_of(pages: StatusPages, key: str) -> Image.Image:
    answer = pages("viewer").get(f"/preview/{pages.project.name}/poster", params={"key": key})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["cache-control"] == "private, max-age=300"
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize("key", ["film.mp4", "film.mkv"])
def test_a_film_shows_its_first_picture_before_it_plays(films: StatusPages, key: str) -> None:
    page = films("viewer").get(f"/objects/{films.project.name}?key={key}").text
    source = re.search(r'<video [^>]*preload="none" poster="([^"]+)"', page)
    assert source
    assert films("viewer").get(source.group(1).replace("&amp;", "&")).headers["content-type"] == "image/webp"
    image = poster_of(films, key)
    assert (image.format, image.size) == ("WEBP", (320, 320))
    red, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert max(red, green, blue) < 50  # of 20 … 213


def test_of_a_film_no_more_is_decoded_than_its_beginning_and_the_process_stays() -> None:
    chunks: list[Chunk] = []

    class Counting(DecoderPool):
        def decode(self, *job: Any) -> Iterator[Chunk]:
            for chunk in super().decode(*job):
                chunks.append(chunk)
                yield chunk

    with Counting(1) as pool:
        draw_first_frame(pool, "k", io.BytesIO(film()), "video/mp4", Limits())
        first = pool.pids()
        long = make_film(pictures=make_brightening(300, 32, 32))
        assert draw_first_frame(pool, "k", io.BytesIO(long), "video/mp4", Limits())[:4] == b"RIFF"
        assert pool.pids() == first != []
    assert len(chunks) == 2


def test_a_film_that_cannot_be_decoded_has_a_plain_poster_and_no_error(
    films: StatusPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert poster_of(films, "broken.mp4").size == (16, 16)
    monkeypatch.setattr("include.embedding_etl.status.previews.MAX_POSTER_BYTES", 100)
    assert poster_of(films, "film.mp4").size == (16, 16)  # too much to read for an ornament
    films.project.put("film.mkv", b"another version")
    assert poster_of(films, "film.mkv").size == (16, 16)


@pytest.mark.parametrize(("key", "status"), [("s.wav", 415), ("a.txt", 415), ("unknown", 404), ("../ledger.db", 404)])
def test_nothing_but_a_film_has_a_poster(films: StatusPages, key: str, status: int) -> None:
    path = f"/preview/{films.project.name}/poster"
    assert films("viewer").get(path, params={"key": key}).status_code == status
    assert films("").get(path, params={"key": key}).status_code == 401
