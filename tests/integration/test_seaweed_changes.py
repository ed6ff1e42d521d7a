"""A day in the life of a bucket, on a real S3 server that lists out of order."""

from tests.fixtures_pipeline import Project
from tests.fixtures_storage import S3Server


def test_exactly_what_changed_is_embedded(seaweed_server: S3Server, project: Project) -> None:
    bucket, client, credentials = seaweed_server.make_bucket(), seaweed_server.client(), seaweed_server.credentials()
    project.configure(source={"uri": f"s3://{bucket}/"})

    def put(key: str, text: str) -> None:
        client.put_object(Bucket=bucket, Key=key, Body=text.encode())

    for number in range(12):
        put(f"a/{number}.txt", f"text number {number}")
        put(f"a{number}/b.txt", f"another text, number {number}")  # SeaweedFS lists these in another order than S3
    assert project.run(credentials=credentials).green
    project.endpoint.texts.clear()
    before = project.rows()

    for number in range(4):
        put(f"added/{number}.txt", f"added {number}")
    for number in range(3):
        put(f"a/{number}.txt", f"changed {number}")
    for number in (3, 4):
        client.delete_object(Bucket=bucket, Key=f"a/{number}.txt")
    put("renamed.txt", "text number 5")
    client.delete_object(Bucket=bucket, Key="a/5.txt")
    put("a/6.txt", "text number 6")

    report = project.run(credentials=credentials)
    assert report.problems == []
    assert sorted(project.endpoint.texts) == [f"added {n}" for n in range(4)] + [f"changed {n}" for n in range(3)]
    assert report.lanes["text"].figures["embedded"] == 7
    after = project.rows()
    assert after == project.expected_rows(credentials=credentials)
    gone = {row_id for row_id, (key, _) in before.items() if key in {"a/3.txt", "a/4.txt", "a/5.txt"}}
    assert len(gone) == 3
    assert not gone & set(after)
