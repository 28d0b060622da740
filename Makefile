PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8501
PAGE ?=

.PHONY: run pool test bench words network thumbnails clean

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

pool: .venv/ray.stamp  ## run networks in a Ray Serve pool on this machine: LOUPE_ENGINE=ray make run
	$(BIN)/python -m models.networks.pool_server

test: .venv/dev.stamp  ## lint, types, import contracts, then all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.browser.find_chromium
	$(BIN)/pytest

bench: .venv/dev.stamp  ## measure every page's goals; PAGE=attention for one page
	$(BIN)/python -m tests.browser.find_chromium
	$(BIN)/python -m tests.benchmarks $(PAGE)

words: .venv/dev.stamp  ## collect the words of the interface into assets/locale
	$(BIN)/pybabel extract -F babel.cfg -k InputError -k mark --no-location --sort-output -o assets/locale/loupe.pot .
	$(BIN)/pybabel update -D loupe -i assets/locale/loupe.pot -d assets/locale --no-fuzzy-matching --ignore-obsolete

thumbnails: .venv/app.stamp  ## draw the gallery's pictures from real numbers
	$(BIN)/python -m components.thumbnails

network: .venv/app.stamp  ## train loupe-llama: make network TEXT=books.txt
	$(BIN)/python -m models.networks.train --text $(TEXT)

clean:
	rm -rf .venv bench.json
