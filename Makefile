PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8501
PAGE ?=
MINUTES ?= 30
COUNT ?= 3000
REPLICAS ?= 2
LISTEN ?= 127.0.0.1:$(PORT)
HOST ?=

# Compiled tests and modules are kept, also where a machine is told to keep none: half of a short run.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run host pool check test crawl audit bench soak words network thumbnails clean

# A stamp for each requirements file: a second call installs nothing.
.venv/app.stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/ray.stamp: requirements-ray.txt .venv/app.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	touch $@

.venv/dev.stamp: requirements-dev.txt requirements-ray.txt .venv/app.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-packages.txt
	touch $@

run: .venv/app.stamp  ## start Loupe and print its address
	$(BIN)/streamlit run app.py --server.port $(PORT)

host: .venv/app.stamp  ## start REPLICAS processes behind nginx; HOST= for further options of deploy.host
	$(BIN)/python -m deploy.host --replicas $(REPLICAS) --listen $(LISTEN) $(HOST)

pool: .venv/ray.stamp  ## run networks in a Ray Serve pool on this machine: LOUPE_ENGINE=ray make run
	$(BIN)/python -m models.networks.engine.pool_server

check: .venv/dev.stamp  ## lint, types, contracts, and the tests that need no browser: what to run before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/models tests/components -m "not slow" -n 2

test: .venv/dev.stamp  ## lint, types, import contracts, then all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.browser.find_chromium
	$(BIN)/python -m tests.hosting.find_nginx
	$(BIN)/pytest

crawl: .venv/dev.stamp  ## open 3,000 addresses of all views at random settings; COUNT=200 for fewer
	$(BIN)/python -m tests.crawl --count $(COUNT)

audit: .venv/dev.stamp  ## look for known vulnerabilities in what is pinned; needs the advisory service
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	$(BIN)/python -m deploy.audit

bench: .venv/dev.stamp  ## measure every page's goals; PAGE=attention for one page
	$(BIN)/python -m tests.browser.find_chromium
	$(BIN)/python -m tests.hosting.find_nginx
	$(BIN)/python -m tests.benchmarks $(PAGE)

soak: .venv/dev.stamp  ## half an hour of sessions that come and go; MINUTES=4 for a try
	$(BIN)/python -m tests.hosting.find_nginx
	$(BIN)/python -m tests.benchmarks soak --minutes $(MINUTES)

words: .venv/dev.stamp  ## collect the words of the interface into assets/locale
	$(BIN)/pybabel extract -F babel.cfg -k InputError -k mark --no-location --sort-output -o assets/locale/loupe.pot .
	$(BIN)/pybabel update -D loupe -i assets/locale/loupe.pot -d assets/locale --no-fuzzy-matching --ignore-obsolete

thumbnails: .venv/app.stamp  ## draw the gallery's pictures from real numbers
	$(BIN)/python -m components.thumbnails

network: .venv/app.stamp  ## train loupe-llama: make network TEXT=books.txt
	$(BIN)/python -m models.training.train --text $(TEXT)

clean:
	rm -rf .venv bench.json
