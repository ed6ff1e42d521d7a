"""What the documents name exists, and what exists is documented."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from include.embedding_etl.cli import app
from include.embedding_etl.pipeline_files import load_pipeline

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """Every command of `etl`, groups joined by a blank."""
    root = typer.main.get_command(app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found.append(name)
        found += [f"{name} {inner}" for inner in getattr(command, "commands", {})]
    return [name for name in found if name != "ledger"]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"^ +etl {command}\b", README, re.MULTILINE)


def test_the_readme_names_no_command_that_does_not_exist() -> None:
    named = {match.group(1) for match in re.finditer(r"\betl ([\w-]+)", README)} - {"run", "a"}
    assert named <= {name.split()[0] for name in [*commands(), "ledger"]}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_and_every_file_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    targets += re.findall(r"`((?:dags|include|tests|bench|docs|scripts)/[\w/.-]+)`", text)
    missing = [target for target in targets if not (document.parent / target).exists() and not (ROOT / target).exists()]
    assert missing == ["include/pipelines/docs.yaml"] * missing.count("include/pipelines/docs.yaml")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z][a-z-]*)", document.read_text())) <= targets


def test_the_pipeline_in_the_readme_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "docs.yaml").write_text(example)
    assert load_pipeline(tmp_path / "docs.yaml").lanes["text"].model.revision


def test_every_promise_has_its_test_and_every_test_its_promise() -> None:
    promised = set(re.findall(r"^\| (\d\d) \|", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE))
    tested = {
        number
        for path in (ROOT / "tests").rglob("test_*.py")
        for number in re.findall(r"def test_pain_(\d\d)_", path.read_text())
    }
    assert promised == tested


def test_every_direct_dependency_has_its_line_of_reason() -> None:
    names = re.findall(r"^([A-Za-z0-9_.-]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    architecture = (ROOT / "ARCHITECTURE.md").read_text().lower()
    named_so = {name: name.removeprefix("apache-airflow-providers-").lower() for name in names}
    assert [name for name, short in named_so.items() if short not in architecture] == []


def test_the_layers_are_told_as_they_are_checked() -> None:
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    (told,) = re.findall(
        r"import-linter, in pyproject.toml\):\n\n(.*?)\n\n", (ROOT / "ARCHITECTURE.md").read_text(), re.S
    )
    assert [layer.split() for layer in told.split("→")] == [layer.split() for layer in checked]
