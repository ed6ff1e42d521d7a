"""Links to objects and parts of sounds, over a pipeline whose source is a real S3 server behind a proxy that looks."""

import logging
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest

from include.embedding_etl.status.downloads import LIFETIME_S
from include.embedding_etl.status.previews import MAX_MEDIA_BYTES, MAX_PICTURE_BYTES, has_preview
from include.embedding_etl.types import ObjectRecord
from tests.fixtures_media import make_tone, make_wav
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusClient, StatusPages
from tests.fixtures_storage import FaultyProxy, S3Server

HOSTILE = ["ä 漢字/🦉.txt", "a b?c=d&e#f.txt", "100%/%2F+.txt", "q'uote\"<script>.html", "//lead/x"]
SOUND = make_wav(np.tile(make_tone(1.0), 100))  # 3 MB: several blocks
HTML = b"<script>alert(1)</script>"


class Bucket:
    """The pages, and what is behind them."""

    def __init__(self, project: Project, server: S3Server, proxy: FaultyProxy) -> None:
        self.server, self.proxy, self.name = server, proxy, server.make_bucket()
        for key in HOSTILE:
            self.put(key, HTML + key.encode())
        self.put("tone.wav", SOUND)
        project.configure(source={"uri": f"s3://{self.name}/"})
        project.run(credentials=server.credentials())
        places: dict[str, Any] = {
            "s3_endpoint": proxy.endpoint,
            "s3_region": "us-east-1",
            "aws_access_key_id": server.access_key,
            "aws_secret_access_key": server.secret_key,
        }
        self.pages = StatusPages(project, places=places)

    def put(self, key: str, body: bytes) -> None:
        self.server.client().put_object(Bucket=self.name, Key=key, Body=body)

    def ask(self, client: StatusClient, key: str, **headers: str) -> Any:
        headers["x-csrf-token"] = client.token()
        return client.post(self.path("/objects/{}/download"), params={"key": key}, headers=headers)

    def path(self, template: str) -> str:
        return template.format(self.pages.project.name)


@pytest.fixture
def bucket(project: Project, moto_server: S3Server, faulty_proxy: FaultyProxy) -> Bucket:
    return Bucket(project, moto_server, faulty_proxy)


def link_in(html: str) -> str:
    found = re.search(r'<a class="download-link" href="([^"]+)" rel="noreferrer noopener" download>', html)
    assert found, html
    return unescape(found.group(1))


@pytest.mark.parametrize("key", HOSTILE)
def test_the_link_downloads_the_bytes_as_a_file_for_five_minutes_at_most(bucket: Bucket, key: str) -> None:
    client = bucket.pages("viewer")
    page = client.get(bucket.path("/objects/{}"), params={"key": key}).text
    form = re.search(r'<form method="post" action="([^"]+)" hx-post="\1"', page)
    assert form, "the object's page has no button"
    answer = client.post(unescape(form.group(1)), data={"csrf_token": client.token()})
    assert answer.status_code == 200
    assert "<script>" not in answer.text.replace('<script src="', "")
    assert answer.headers["cache-control"] == "no-store"
    link = link_in(answer.text)
    assert int(parse_qs(urlsplit(link).query)["X-Amz-Expires"][0]) <= LIFETIME_S <= 300
    got = httpx.get(link, trust_env=False)
    assert (got.status_code, got.content) == (200, HTML + key.encode())
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"] == "attachment"


def test_the_link_is_made_at_the_click_and_stays_between_us(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = bucket.pages("viewer")
    page = client.get(bucket.path("/objects/{}"), params={"key": "tone.wav"}).text
    assert "X-Amz" not in page
    fragment = bucket.ask(client, "tone.wav", **{"hx-request": "true"}).text
    assert "<html" not in fragment
    assert link_in(fragment)
    assert bucket.server.secret_key not in page + fragment
    assert "X-Amz-Signature" not in caplog.text


def test_only_objects_that_the_ledger_knows_in_that_version_have_a_link(bucket: Bucket) -> None:
    client, name = bucket.pages("viewer"), bucket.pages.project.name
    bucket.put("unknown.txt", b"nobody has seen it")
    assert bucket.ask(client, "unknown.txt").status_code == 404
    assert bucket.ask(client, "../other").status_code == 404
    with bucket.pages.project.open() as runtime:
        runtime.ledger.objects.mark_vanished(name, ["//lead/x"])
    assert bucket.ask(client, "//lead/x").status_code == 404
    assert "Download" not in client.get(bucket.path("/objects/{}"), params={"key": "//lead/x"}).text
    bucket.put("tone.wav", b"another version")
    changed = bucket.ask(client, "tone.wav")
    assert (changed.status_code, "another version by now" in changed.text) == (503, True)
    fragment = bucket.ask(client, "tone.wav", **{"hx-request": "true"})  # in its place on the page
    assert (fragment.status_code, 'class="problem" role="alert"' in fragment.text) == (200, True)
    assert "X-Amz" not in changed.text + fragment.text


def test_a_link_needs_a_login_and_the_token_of_a_page(bucket: Bucket) -> None:
    path = bucket.path("/objects/{}/download?key=tone.wav")
    assert bucket.pages("").post(path).status_code == 401
    assert bucket.pages("viewer").post(path).status_code in (403, 413)
    assert bucket.pages("viewer").get(path).status_code == 405
    stolen = {"x-csrf-token": bucket.pages("admin").token()}
    assert bucket.pages("viewer").post(path, headers=stolen).status_code == 403


def test_a_directory_has_no_links(status_pages: StatusPages) -> None:
    project, client = status_pages.project, status_pages("viewer")
    project.put("a.txt", "words")
    project.run()
    assert "Download" not in client.get(f"/objects/{project.name}?key=a.txt").text
    answer = client.change(f"/objects/{project.name}/download?key=a.txt")
    assert (answer.status_code, "files of a directory" in answer.text) == (404, True)


def test_what_is_too_large_for_a_preview_has_a_button_instead(bucket: Bucket) -> None:
    client, name = bucket.pages("viewer"), bucket.pages.project.name
    assert has_preview("image/png", MAX_PICTURE_BYTES)
    assert not has_preview("image/png", MAX_PICTURE_BYTES + 1)
    assert not has_preview("video/mp4", MAX_MEDIA_BYTES + 1)
    large = ObjectRecord("film.mp4", "e", MAX_MEDIA_BYTES + 1, 1, "video/mp4", "")
    with bucket.pages.project.open() as runtime:
        runtime.ledger.objects.put(name, [large])
    page = client.get(bucket.path("/objects/{}?key=film.mp4")).text
    assert "<video" not in page
    assert "Download" in page
    from include.embedding_etl.status.site import _ENVIRONMENT
    from include.embedding_etl.types import Hit

    fields = {"object_key": "film.mp4", "media_type": "video/mp4", "start": 0, "end": 5000, "text": "", "ordinal": 0}
    values = {"url": lambda path, **_: path, "pipeline": bucket.pages.project.open().pipeline, "problem": ""}
    for size_bytes, is_shown in ((10, True), (MAX_MEDIA_BYTES + 1, False)):
        hit = Hit(0.5, "id", {**fields, "size_bytes": size_bytes, "meta": {}})
        html = _ENVIRONMENT.get_template("hits.html").render(
            **values, hits=[hit], has_preview=has_preview, csrf_token="t"
        )
        assert ("<video" in html, "Too large for a preview" in html, "/download" in html) == (
            is_shown,
            not is_shown,
            not is_shown,
        )


def test_of_a_sound_only_the_part_that_is_asked_for_leaves_the_store(bucket: Bucket) -> None:
    sent: list[int] = []
    bucket.proxy.always = lambda reply: sent.append(len(reply.body))
    path = bucket.path("/preview/{}?key=tone.wav")
    part = bucket.pages("viewer").get(path, headers={"range": "bytes=2000000-2000999"})
    assert (part.status_code, part.content) == (206, SOUND[2_000_000:2_001_000])
    assert sum(sent) == 1000
    sent.clear()
    whole = bucket.pages("viewer").get(path)
    assert (whole.status_code, whole.content) == (200, SOUND)
    assert sum(sent) == len(SOUND)
    assert len(sent) > 1  # in blocks, as the player takes them
    tail = bucket.pages("viewer").get(path, headers={"range": "bytes=-10"})
    assert tail.content == SOUND[-10:]


def test_a_sound_that_changes_while_it_is_played_is_never_mixed(bucket: Bucket) -> None:
    other = bytes(reversed(SOUND))

    def replace_it(reply: object) -> None:
        bucket.proxy.always = None
        bucket.put("tone.wav", other)

    bucket.proxy.always = replace_it
    client = bucket.pages("viewer", raise_server_exceptions=False)
    got = b""
    try:
        with client.stream("GET", bucket.path("/preview/{}?key=tone.wav")) as answer:
            for data in answer.iter_bytes():
                got += data
    except httpx.HTTPError:
        pass
    assert 0 < len(got) < len(SOUND)
    assert SOUND.startswith(got)
