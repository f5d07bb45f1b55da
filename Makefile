# Two commands to know: `make demo` and `make test`. Both set everything up by themselves.
PYTHON ?= python3
BIN := .venv/bin
export TOKENIZERS_PARALLELISM := false

.PHONY: setup demo test check bars site clean

setup: .venv/.complete

# What `make demo` needs. The tests also need the libraries of every extra.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "cloche needs Python 3.11 or newer, this is " + sys.version'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --editable .
	@touch $@

.venv/.complete: .venv/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[dev]'
	@touch $@

# Some tests draw Chinese. Where no font has its characters, one of 1.6 MB is installed; where that
# cannot be done, those tests say so and are skipped.
.venv/.font: .venv/.complete
	@$(BIN)/python -c 'import sys; from cloche.plots.canvas import cjk_font; sys.exit(cjk_font() is None)' \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq && apt-get install -y -qq fonts-wqy-microhei; } \
	  || echo "no font with Chinese characters could be installed"
	@touch $@

demo: .venv/.ready
	@$(BIN)/cloche demo

test: setup .venv/.font
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

check: setup
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/size_budgets.py
	$(BIN)/python scripts/reference.py --check

.venv/.docs: .venv/.complete
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[docs,notebook]'
	@touch $@

# MODEL=FOLDER names a pretrained model for the lessons that look at one.
site: .venv/.docs .venv/.font
	OMP_NUM_THREADS=1 $(BIN)/python scripts/site.py $(if $(MODEL),--model $(MODEL))

bars: setup .venv/.docs
	$(BIN)/python scripts/bars.py

clean:
	rm -rf .venv build dist
