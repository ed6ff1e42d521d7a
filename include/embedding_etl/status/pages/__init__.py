"""One file a page. Each has a `router`; the list below is what the app serves."""

from include.embedding_etl.status.pages import (
    collections,
    failures,
    metrics,
    objects,
    overview,
    previews,
    search,
    vectors,
)

PAGES = (
    overview.router,
    failures.router,
    objects.router,
    search.router,
    collections.router,
    vectors.router,
    previews.router,
    metrics.router,
)
