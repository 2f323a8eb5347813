# Three commands for a fresh checkout: `make train`, `make test` and `make book`. Each sets up .venv first, once, and again
# only when requirements.lock or pyproject.toml has changed. `make PYTHON=python3.12 train` takes another interpreter.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SITE := _build/html

# What `make lock` holds back; everything else is the newest that goes with it. The reasons:
#   mujoco 3.5.0 changed Hopper's contact dynamics, so scores would not compare; rliable imports what pandas 3 removed.
PINS := torch==2.13.0 mujoco==3.4.0 gymnasium==1.4.0 gymnasium-robotics==1.4.2 minari==0.5.4 'pandas<3' 'pandas-stubs<3'

.PHONY: help train test lint notebooks book book-test pdf lock clean tables smoke quick-test newest

help:
	@echo 'make train   set up .venv, then train and evaluate TD3-N + RD by the notebook; records go to runs/'
	@echo 'make test    set up .venv, then run everything CI runs: ruff, mypy, pytest, smoke, the notebooks, the book'
	@echo 'make quick-test  the tests to run while working, in under 90 seconds on two quiet cores'
	@echo 'make newest  the tests of data and evaluation with the newest of every dependency'
	@echo 'make book    set up .venv, then build the book into $(SITE)/; its pages run where their code is new'
	@echo 'make book-test   build the book, then open every page in a browser (chromium)'
	@echo 'make pdf     the book as a PDF, where LaTeX is installed'
	@echo 'make tables  the tables and their figures from the published records, into runs/tables; nothing is trained'
	@echo 'make smoke   the whole grid of runs behind them (workflow/Snakefile) at toy size'
	@echo 'make lock    resolve requirements.lock anew from pyproject.toml'
	@echo 'make clean   remove .venv, _build and caches (runs/ stays)'

train: $(READY)
	$(BIN)/papermill notebooks/train.ipynb -p algo td3n_rd

# One thread per worker: two workers on two cores would otherwise fight over them.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder --durations=5
	@$(MAKE) --no-print-directory smoke notebooks book
	$(BIN)/python book/check_pages.py $(SITE)
	$(BIN)/python book/check_browser.py --if-possible $(SITE)

# What one runs while working: the laws of engine, RD, kernel, algorithms, plans, records and tables.
QUICK := test_package.py test_rd.py test_ntk.py engine/test_nets.py engine/test_rng.py algos/test_td3bc.py algos/test_cql.py \
	algos/test_registry.py data/test_batches.py training/test_plan.py training/test_record.py results/test_stats.py
quick-test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope -q $(addprefix tests/,$(QUICK))

# The newest of every dependency, as `pip install .` takes them: PYTHON may be any from 3.11 on. In an environment of its own.
newest:
	rm -rf .venv-newest && $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check '.[test]'
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n 2 --dist loadscope tests/data tests/training/test_evaluation.py tests/results/test_stats.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python book/check_prose.py

# One pytest per notebook, two at a time: where nbval collects nothing, pytest exits with 5 and xargs, once all have run, with
# 123, so none is skipped unseen. In reverse order, because `train`, the longest, is last by name.
notebooks: $(READY)
	@rm -rf notebooks/runs # else a finished run would be read back instead of trained
	@ls -r notebooks/*.ipynb | OMP_NUM_THREADS=1 xargs -P 2 -n 1 sh -c '\
	  said=$$($(BIN)/pytest -q --nbval-lax --nbval-cell-timeout=600 "$$1" 2>&1); status=$$?; \
	  printf "%s\n%s\n" "$$1" "$$said"; exit $$status' notebook

# All pages are read anew (--all), for a page that is not gives no warning; what ran before does not run again. What has not
# run does so two at a time, into the cache from which the book takes it.
book: $(READY) _build/.code
	@rm -rf notebooks/runs $(SITE) # a finished run would be read back, a page that has been removed would stay
	OMP_NUM_THREADS=1 $(BIN)/python book/run_pages.py
	OMP_NUM_THREADS=1 $(BIN)/jupyter-book build . --all -W -n --keep-going

# What a page shows depends on more than the page: a file of the code, the records or the lock that came, went or changed
# makes all run again.
.PHONY: _build/.code
_build/.code:
	@mkdir -p _build && find rdlib book/results requirements.lock -type f -not -path '*/__pycache__/*' | sort \
	  | tr '\n' '\0' | xargs -0 cksum > $@.new
	@cmp -s $@.new $@ || rm -rf _build/.jupyter_cache
	@mv $@.new $@

book-test: book
	$(BIN)/python book/check_pages.py $(SITE)
	$(BIN)/python book/check_browser.py $(SITE)

# Clips and sliders are for a screen; LaTeX is not strict about them.
pdf: $(READY) _build/.code
	@for tool in latexmk xelatex convert; do command -v $$tool >/dev/null || { \
	  echo "make pdf needs LaTeX, and there is no $$tool. On Debian and Ubuntu: apt install latexmk texlive-xetex" \
	    "texlive-latex-extra texlive-fonts-recommended texlive-fonts-extra fonts-freefont-otf xindy imagemagick" \
	    "librsvg2-bin. make book needs none." >&2; exit 1; }; done
	@rm -rf _build/latex # latexmk does not try again what failed before
	OMP_NUM_THREADS=1 $(BIN)/jupyter-book build . --builder pdflatex

# An rdlib from before its papermill plug-in takes papermill's command with it when it is replaced: put that back.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "rdlib needs Python >= 3.11, and '$(PYTHON)' is `$(PYTHON) -V 2>&1`." \
	    "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo 'Setting up .venv from requirements.lock: a few minutes and some 2 GB (more where torch brings CUDA).'
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@[ -x $(BIN)/papermill ] || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
	  "$$(grep '^papermill==' requirements.lock)"
	@touch $@

tables: $(READY)
	$(BIN)/python workflow/tables.py

# Two jobs at once: `gpu` is what the local profile counts jobs by, also where there is none.
smoke: $(READY)
	rm -rf runs/smoke
	$(BIN)/snakemake --profile workflow/profiles/local --configfile workflow/smoke.yaml \
	  --cores 2 --resources gpu=2 -- tables ablations pages

# Without torch's CUDA packages, which pip adds by itself where it takes a CUDA build of torch.
lock: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	@{ echo '# Made by `make lock` from pyproject.toml, all extras, for Python 3.11 to 3.13 on Linux and macOS.'; \
	  echo '# torch brings its own CUDA packages where pip takes a CUDA build of it; they are not listed.'; \
	  printf '%s\n' $(PINS) | $(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal \
	    --python-version 3.11 --no-annotate --no-header --constraint /dev/stdin \
	  | grep -vE "^(nvidia|cuda|triton)|(sys_platform|implementation_name) == '(win32|pypy)'"; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock && echo 'requirements.lock written'

clean:
	rm -rf .venv _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
