# Needs Python 3.11 and nothing else: no root, no system package, no container engine. `make help` lists the targets.
# Only test-browser, cluster and test-cluster want Debian packages, and name them before they install them.

SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STACK := $(BIN)/python -m include.local_stack
CLUSTER := $(BIN)/python -m include.local_stack.cluster
IF_INSTALLED := test -x $(BIN)/python || { echo "nothing is installed, so nothing runs"; exit 0; };
PYTEST_ARGS ?=
# pip says hundreds of lines, or none at all: of these, what tells a person that it goes on.
PIP := $(BIN)/python -m pip install $(if $(CI),-qq)
# What is downloaded has to be what was locked. torch, whose build may come from elsewhere, and what it names are not in
# these files: the second call, with the lock, completes them and checks that everything fits together.
HASHED := $(PIP) --no-compile --require-hashes --no-deps
PROGRESS := | { grep -E --line-buffered 'Downloading .* MB\)|Installing collected' | cut -c1-100 || true; }
LOCK_VENV := .local/lock-venv
MILVUS_VENV := .venv-milvus

# Installs one package of Debian, as root or by sudo, and says so. A server among them is started by the system on its
# usual port; ours are others.
DEBIAN = echo "Installing the Debian package $(1)"; \
  apt="$$(test "$$(id -u)" = 0 || echo sudo) env DEBIAN_FRONTEND=noninteractive apt-get -qq"; \
  $$apt install -y $(1) >/dev/null 2>&1 || { $$apt update && $$apt install -y $(1) >/dev/null; } || \
  { echo "It could not be installed: install Debian's package $(1) yourself"; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-cluster demo down status cluster cluster-down cluster-status test check bench lock \
  env licences audit-dependencies test-milvus-server test-browser test-postgresql test-cluster debian-cluster clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 28

install: $(VENV)/.demo ## create .venv from the lock
install-dev: $(VENV)/.dev
install-cluster: debian-cluster $(VENV)/.cluster $(MILVUS_VENV)/.installed

demo: install ## start the embedded stack, ingest the sample corpus through Airflow, show what came of it
	@$(STACK) demo

down: ## stop the embedded stack; data is kept
	@$(IF_INSTALLED) $(STACK) down

status: ## say what runs
	@$(IF_INSTALLED) $(STACK) status

cluster: install-cluster ## the same demo on PostgreSQL, Redis, a Milvus server and Celery workers
	@$(CLUSTER) demo

cluster-down: ## stop the cluster; data is kept
	@$(IF_INSTALLED) $(CLUSTER) down

cluster-status: ## say what of the cluster runs
	@$(IF_INSTALLED) $(CLUSTER) status

test: install-dev ## run the whole suite on real local servers
	@echo "Left out: tests marked milvus_server; they install a Milvus server of 60 MB: make test-milvus-server"
	@echo "Left out: tests marked browser; they drive Chromium over a whole demo: make test-browser"
	@echo "Left out: tests marked cluster; they need PostgreSQL, Redis and a Milvus server: make test-cluster"
	$(BIN)/python -m pytest -m "not milvus_server and not browser and not cluster" -n 2 --dist loadscope $(PYTEST_ARGS)

check: install-dev ## format, lint, types, layers, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -d tests/docs ]; then $(BIN)/python -m pytest -q tests/docs; fi

env: ## write .env for docker-compose.yml: secrets generated, what is there kept
	@$(PYTHON) -m include.local_stack.production_env

bench: install-dev ## speed of diff, embedding and runs, against peers
	$(BIN)/python -m bench

test-milvus-server: install-dev $(MILVUS_VENV)/.installed ## the Milvus suites again, on a real server instead of Milvus Lite
	ETL_MILVUS_SERVER_PYTHON=$(abspath $(MILVUS_VENV))/bin/python $(BIN)/python -m pytest -m milvus_server $(PYTEST_ARGS)

test-browser: install-dev ## the pages in a real browser over a whole demo; SCREENSHOTS=docs/ui keeps pictures
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { $(call DEBIAN,chromium); }
	SCREENSHOTS="$(SCREENSHOTS)" $(BIN)/python -m pytest -m browser tests/browser $(PYTEST_ARGS)

test-postgresql: install-dev install-cluster ## the suites again on PostgreSQL, and what is tested of Redis and Celery alone
	$(BIN)/python -m pytest -m cluster --ignore tests/cluster -n 2 --dist loadscope $(PYTEST_ARGS)

test-cluster: test-postgresql ## that, then the whole cluster, whose parts are killed
	ETL_MILVUS_SERVER_PYTHON=$(abspath $(MILVUS_VENV))/bin/python $(BIN)/python -m pytest -m cluster tests/cluster $(PYTEST_ARGS)

debian-cluster:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || { $(call DEBIAN,postgresql); }
	@command -v redis-server >/dev/null || { $(call DEBIAN,redis-server); }

clean: ## stop the stacks, then delete .venv and .local with all data and passwords
	@if [ -x $(BIN)/python ]; then $(STACK) down; fi
	@if [ -e $(VENV)/.cluster ]; then $(CLUSTER) down; fi
	rm -rf $(VENV) $(MILVUS_VENV) .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# pip compiles one file after the other, compileall with all cores. Without it every process pays 20 s of imports where
# PYTHONDONTWRITEBYTECODE is set. A few packages carry templates that are no Python: hence `|| true`.
$(VENV)/.demo: requirements.txt requirements.hashes requirements-demo.txt requirements-demo.hashes pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11, or name it: make PYTHON=… $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked requirements into $(VENV): 2 GB, a few minutes the first time"
	@$(HASHED) -r requirements.hashes -r requirements-demo.hashes $(PROGRESS)
	@$(PIP) --no-compile -r requirements.txt -r requirements-demo.txt $(PROGRESS)
	@$(PIP) -q --no-deps -e .
	@$(BIN)/python -m compileall -q -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements-dev.txt requirements-dev.hashes
	@$(HASHED) -r requirements-dev.hashes $(PROGRESS)
	@$(PIP) -r requirements-dev.txt $(PROGRESS)
	@touch $@

# pymilvus and Airflow stay as requirements.txt has them: the locks agree.
$(VENV)/.cluster: $(VENV)/.demo requirements-cluster.txt requirements-cluster.hashes
	@echo "Installing the locked requirements of the cluster into $(VENV): Celery, drivers of PostgreSQL and Redis"
	@$(HASHED) -r requirements-cluster.hashes $(PROGRESS)
	@$(PIP) --no-compile -r requirements-cluster.txt $(PROGRESS)
	@$(BIN)/python -m compileall -q -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

# An environment of its own: this server's old client and pymilvus 3 cannot live together.
$(MILVUS_VENV)/.installed: tests/milvus-server.txt
	@echo "Installing a Milvus server into $(MILVUS_VENV): 60 MB"
	$(PYTHON) -m venv $(MILVUS_VENV)
	$(MILVUS_VENV)/bin/python -m pip install $(if $(CI),-qq) -r tests/milvus-server.txt
	@touch $@

# torch names its CUDA libraries by exact version itself; as pins of ours they would be forced on machines without a GPU.
lock: ## write requirements*.txt from requirements*.in
	@test -x $(LOCK_VENV)/bin/uv || { $(PYTHON) -m venv $(LOCK_VENV) && $(LOCK_VENV)/bin/python -m pip install --quiet uv; }
	@for name in requirements requirements-demo requirements-cluster requirements-dev; do \
	  $(LOCK_VENV)/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	    --annotation-style=line --custom-compile-command "make lock" $(LOCK_ARGS) $$name.in -o $$name.txt || exit 1; \
	  sed -i.before -E -e 's/^(torch==[0-9.]+)\+[a-z0-9.]+/\1/' -e '/^(nvidia-|cuda-|triton==)/d' $$name.txt && rm $$name.txt.before; \
	  { echo "# Hashes of $$name.txt, without torch: \`make lock\` writes them."; grep -v '^torch==' $$name.txt | \
	    $(LOCK_VENV)/bin/uv pip compile --quiet --python-version 3.11 --no-deps --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links - ; } > $$name.hashes || exit 1; \
	done
	@wc -l requirements*.txt

licences: install-dev $(VENV)/.cluster ## write docs/licences.md from what the locked packages say
	@$(BIN)/python -m scripts.licences

audit-dependencies: install-dev ## known vulnerabilities of the locked packages; says so where no database is reachable
	@$(BIN)/python -m scripts.audit_dependencies
