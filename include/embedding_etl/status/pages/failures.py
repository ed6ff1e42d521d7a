"""Failures: dead letters by class, and what a person can do about them: replay, dismiss."""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse

from include.embedding_etl.dead_letters import LetterChoice, dismiss, parse_since, replay
from include.embedding_etl.errors import ConfigError, EmbeddingEtlError
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.advice import advice_for
from include.embedding_etl.status.failures_queries import DAYS, LetterPage, read_classes, read_page
from include.embedding_etl.status.site import Site, render, site_of, viewer_of
from include.embedding_etl.status.task_links import letter_log
from include.embedding_etl.wording import counted

REPLAY_DAG = "replay_dead_letters"
ALL_LANES = "all lanes"  # the word of that DAG's form
MAX_REASON = 500

router = APIRouter()


class Filter(BaseModel):
    """What the filter of the page says. What is empty narrows nothing down."""

    pipeline: str = ""
    lane: str = ""
    error_class: str = ""
    key: str = ""
    since: str = ""
    state: Literal["open", "dismissed", "resolved", "all"] = "open"

    def choice(self) -> LetterChoice:
        """Which letters these are.

        Raises:
            ConfigError: `since` is no time.
        """
        return LetterChoice(self.lane, self.error_class, self.key, parse_since(self.since), state=self.state)

    def query(self, **changes: Any) -> dict[str, str]:
        """For links that keep the filter."""
        return {**self.model_dump(), **changes}


class Asked(Filter):
    """A filter, and what of it is meant."""

    ids: list[int] = []
    scope: Literal["selected", "filter"] = "selected"
    reason: str = ""


class Paged(Filter):
    """A filter, and where its page begins."""

    before: int | None = None


@router.get("/failures")
def failures(request: Request, asked: Annotated[Paged, Query()]) -> HTMLResponse:
    """Letters of one pipeline."""
    site = site_of(request)
    pipelines, problems = site.pipelines()
    if not pipelines:
        return render(request, "failures.html", pipelines=[], problems=problems)
    pipeline = site.pipeline(asked.pipeline) if asked.pipeline else pipelines[0]
    wanted = Filter.model_validate({**asked.model_dump(), "pipeline": pipeline.name})
    if wanted.lane not in ("", *pipeline.lanes):
        wanted.lane = ""
    classes, page = [], LetterPage((), None)
    try:
        choice = wanted.choice()
        with site.opened(pipeline) as runtime:
            classes, page = read_classes(runtime, choice), read_page(runtime, choice, asked.before)
    except EmbeddingEtlError as error:
        problems = [*problems, str(error)]
    return render(
        request,
        "failures.html",
        pipelines=pipelines,
        problems=problems,
        pipeline=pipeline,
        wanted=wanted,
        classes=classes,
        days=DAYS,
        page=page,
        is_first=asked.before is None,
        advice_for=advice_for,
        letter_log=letter_log,
        may_change=site.host.may_trigger(viewer_of(request), REPLAY_DAG),
    )


@router.post("/failures/replay")
def replay_letters(request: Request, asked: Annotated[Asked, Form()]) -> HTMLResponse:
    """Have letters tried again: by the DAG, so that its run says what became of them."""
    site = site_of(request)
    site.require_trigger(request, REPLAY_DAG)
    pipeline, choice = site.pipeline(asked.pipeline), _meant(asked)
    if not site.host.form_link(REPLAY_DAG):
        return _make_due(request, site, pipeline, choice)
    link = site.host.trigger(viewer_of(request), REPLAY_DAG, _form(pipeline, choice))
    message = f"A run of {REPLAY_DAG} was started. It makes the letters due, ingests, and says what became of them."
    return _done(request, "Replay", message, asked, link)


@router.post("/failures/dismiss")
def dismiss_letters(request: Request, asked: Annotated[Asked, Form()]) -> HTMLResponse:
    """Do without these versions of their objects."""
    site = site_of(request)
    site.require_trigger(request, REPLAY_DAG)
    pipeline, choice, reason = site.pipeline(asked.pipeline), _meant(asked), asked.reason.strip()
    if not reason or len(reason) > MAX_REASON:
        raise Denied(400, f"Say why nobody needs them, in at most {MAX_REASON} characters.")
    with site.opened(pipeline) as runtime:
        count = dismiss(runtime, choice, reason, viewer_of(request).name)
    dismissed = counted(count, "dead letter is dismissed", "dead letters are dismissed")
    message = f"{dismissed}: not tried and not counted, until the object changes."
    return _done(request, "Dismiss", message, asked)


def _meant(asked: Asked) -> LetterChoice:
    """The selected letters, or all open ones of the filter."""
    if asked.scope == "selected":
        if not asked.ids:
            raise Denied(400, "No letter is selected. Select some, or choose all that match the filter.")
        return LetterChoice(ids=tuple(asked.ids))
    if asked.state != "open":
        raise Denied(400, "Only open letters can be meant by a filter. Select the others one by one.")
    try:
        choice = asked.choice()
    except ConfigError as error:
        raise Denied(400, str(error)) from error
    # The one who sees the page without a filter and asks for all means all.
    return choice if choice != LetterChoice() else LetterChoice(key_glob="**")


def _form(pipeline: PipelineSettings, choice: LetterChoice) -> dict[str, Any]:
    """What the DAG's form would say."""
    since = None if choice.since_ms is None else datetime.fromtimestamp(choice.since_ms / 1000, UTC).isoformat()
    return {
        "pipeline": pipeline.name,
        "lane": choice.lane or ALL_LANES,
        "error_class": choice.error_class or None,
        "key_glob": choice.key_glob or None,
        "since": since,
        "ids": list(choice.ids) or None,
    }


def _make_due(request: Request, site: Site, pipeline: PipelineSettings, choice: LetterChoice) -> HTMLResponse:
    """Without Airflow: the next run tries them."""
    with site.opened(pipeline) as runtime:
        due = replay(runtime, f"ui__{uuid.uuid4().hex[:12]}", choice).due
    told = counted(due, "dead letter is due", "dead letters are due")
    message = f"{told}. There is no Airflow here: run `etl run {pipeline.name}`, which tries what is due."
    return _done(request, "Replay", message, Filter(pipeline=pipeline.name))


def _done(request: Request, title: str, message: str, wanted: Filter, link: str = "") -> HTMLResponse:
    back = Filter.model_validate(wanted.model_dump(include=set(Filter.model_fields))).query()
    return render(request, "failures_done.html", title=title, message=message, link=link, back=back)
