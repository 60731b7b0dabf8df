# The two commands that set everything up: `make demo` and `make test`. Both need only Python and make, and neither
# installs anything twice.
PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: demo test
demo: .venv/examples
	$(RUN) examples/demo.py

test: .venv/dev
	$(RUN) -m pytest --numprocesses auto --dist worksteal

# torch first and pinned: an open range may bring gigabytes of CUDA packages to a machine without a GPU.
.venv/torch:
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	touch $@

.venv/examples: .venv/torch pyproject.toml
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[examples]'
	touch $@

.venv/dev: .venv/torch pyproject.toml
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
