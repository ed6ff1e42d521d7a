"""The map: a lane's vectors as points, and the same as a table."""

import numpy as np

from include.embedding_etl.status.vector_map import Maps, group_names, project
from tests.fixtures_pipeline import EmbeddingEndpoint
from tests.fixtures_status import StatusPages


def _points(pages: StatusPages) -> dict[str, object]:
    answer = pages("viewer").get(f"/map/{pages.project.name}/text/points")
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_nobody_sees_a_map(status_pages: StatusPages) -> None:
    for part in ("points", "table"):
        assert status_pages("").get(f"/map/{status_pages.project.name}/text/{part}").status_code == 401


def test_every_row_is_a_point_with_its_groups(status_pages: StatusPages) -> None:
    status_pages.project.put_many(3, "blue/sky")
    status_pages.project.put_many(2, "top")
    status_pages.project.run()
    found = _points(status_pages)
    points = found["points"]
    assert isinstance(points, list)
    assert {point[2] for point in points} == {f"blue/sky-{n:03d}.txt" for n in range(3)} | {
        "top-000.txt",
        "top-001.txt",
    }
    assert found["rows"] == 5
    assert found["prefix"]["names"] == ["blue/", "/"]  # type: ignore[index]
    assert found["media_type"]["names"] == ["text/plain"]  # type: ignore[index]
    assert np.ptp([point[0] for point in points]) > 0.01


def test_the_page_names_its_parts_and_the_lane(status_pages: StatusPages) -> None:
    name = status_pages.project.name
    page = status_pages("viewer").get(f"/map?lane={name}/text&colour=prefix").text
    assert f'data-points="/map/{name}/text/points"' in page
    assert 'data-colour="prefix"' in page
    assert "chart.umd.min.js" in page
    assert status_pages("viewer").get("/static/chart.umd.min.js").status_code == 200
    assert status_pages("viewer").get(f"/map?lane={name}/nothing").status_code == 404


def test_the_table_links_objects_and_escapes_keys(status_pages: StatusPages) -> None:
    project = status_pages.project
    key = "<script>alert(1)<.txt"
    project.put(key, "hostile")
    project.run()
    table = status_pages("viewer").get(f"/map/{project.name}/text/table").text
    assert "<script>" not in table
    assert f'href="/objects/{project.name}?key=%3Cscript%3E' in table


def test_an_empty_lane_says_what_to_do(status_pages: StatusPages) -> None:
    assert _points(status_pages)["points"] == []
    table = status_pages("viewer").get(f"/map/{status_pages.project.name}/text/table").text
    assert f"etl run {status_pages.project.name}" in table


def test_milvus_down_is_said(status_pages: StatusPages) -> None:
    status_pages.project.put_many(1)
    status_pages.project.run()
    status_pages.project.milvus_uri = "http://127.0.0.1:9"
    answer = status_pages("viewer").get(f"/map/{status_pages.project.name}/text/points")
    assert answer.status_code == 503
    assert "problem" in answer.json()
    assert status_pages("viewer").get(f"/map/{status_pages.project.name}/text/table").status_code == 503


def test_a_map_is_kept_until_its_rows_change(status_pages: StatusPages, endpoint: EmbeddingEndpoint) -> None:
    project, maps = status_pages.project, Maps()
    project.put_many(3)
    project.run()
    with project.open() as runtime:
        first = maps.of_lane(runtime, "text")
        assert maps.of_lane(runtime, "text") is first
    project.put("doc-000.txt", "something else")
    project.run()
    with project.open() as runtime:
        changed = maps.of_lane(runtime, "text")
        assert changed is not first
    project.remove("doc-001.txt")
    project.run()
    with project.open() as runtime:
        after = maps.of_lane(runtime, "text")
        assert after is not changed
        assert after is not None
        assert len(after.points) == 2


def test_components_are_those_of_singular_values() -> None:
    vectors = np.random.default_rng(1).normal(size=(200, 12)).astype(np.float32) * np.arange(12, dtype=np.float32)
    places, shown = project(vectors)
    centred = vectors.astype(float) - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(places), np.abs(left[:, :2] * values[:2]), atol=1e-3)
    assert np.isclose(shown, (values[:2] ** 2).sum() / (values**2).sum())


def test_projection_of_next_to_nothing() -> None:
    for vectors in (np.zeros((0, 0)), np.ones((1, 4)), np.ones((3, 1))):
        places, shown = project(vectors.astype(np.float32))
        assert places.shape == (len(vectors), 2)
        assert shown == 0


def test_the_most_frequent_groups_come_first() -> None:
    assert group_names(["b", "a", "b", "c", "a", "b"], 2) == ["b", "a"]
