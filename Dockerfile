# syntax=docker/dockerfile:1
# One image for every Airflow component, the workers included. docs/production.md says how to build its variants.
#   TORCH_INDEX_URL      empty: PyPI's torch, which carries CUDA on x86-64. An index of CPU builds makes it 4 GB smaller
#   EXTRA_REQUIREMENTS   further locks: requirements-demo.txt for models out of packages
#   BAKE_PIPELINES       pipelines whose models are put into /models; the hub must be reachable. Empty: mount /models
# Pinned by version, not by digest: put @sha256:… behind it with what your registry says.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /opt/etl

# The locks first: an edit of the code does not install 2 GB again.
COPY requirements.txt requirements.hashes requirements-cluster.txt requirements-cluster.hashes \
    requirements-demo.txt requirements-demo.hashes ./
ARG TORCH_INDEX_URL=""
ARG EXTRA_REQUIREMENTS=""
# What is downloaded has to be what was locked. torch, whose build may come from elsewhere, and what it alone needs have
# no hash: the later calls complete them. A build from another index counts as the locked version: ==2.13.0 accepts
# 2.13.0+cpu.
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    locks=(); hashes=(); \
    for lock in requirements.txt requirements-cluster.txt ${EXTRA_REQUIREMENTS}; do \
      locks+=(-r "${lock}"); hashes+=(-r "${lock%.txt}.hashes"); \
    done; \
    pip install --require-hashes --no-deps "${hashes[@]}"; \
    if [ -n "${TORCH_INDEX_URL}" ]; then \
      pip install --index-url "${TORCH_INDEX_URL}" "$(grep -oE '^torch==[0-9.]+' requirements.txt)"; \
    fi; \
    pip install "${locks[@]}"

COPY pyproject.toml README.md ./
COPY include ./include
COPY dags ./dags
COPY plugins ./plugins
COPY deploy ./deploy
# Compiled here, since the running container cannot write. A few packages carry templates that are no Python.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps -e . \
    && { python -m compileall -q -q -j 0 /opt/venv/lib /opt/etl || true; }

ARG BAKE_PIPELINES=""
RUN mkdir -p /models \
    && for pipeline in ${BAKE_PIPELINES}; do ETL_MODELS_DIR=/models etl models pull "${pipeline}"; done

FROM ${PYTHON_IMAGE} AS run
# tini reaps what decoders leave behind where nothing else is the first process, as in Kubernetes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --no-create-home --home-dir /opt/airflow airflow \
    && install -d -o 50000 -g 0 -m 0775 /opt/airflow /opt/airflow/logs /metrics-token /models
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/etl /opt/etl
COPY --from=build --chown=50000:0 /models /models
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ETL_MODELS_DIR=/models \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/etl/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/etl/plugins \
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=/opt/airflow/logs \
    AIRFLOW__FAB__CONFIG_FILE=/opt/etl/deploy/airflow/webserver_config.py
# Where it finds none, Airflow writes a configuration with keys of its own. All of ours is in the environment.
RUN touch /opt/airflow/airflow.cfg
WORKDIR /opt/airflow
USER 50000:0
ENTRYPOINT ["/usr/bin/tini", "-s", "--"]
CMD ["airflow", "version"]
