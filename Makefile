# Two commands: `make lab` reads the course, `make test` checks it. Both make the environment when it is missing.
.PHONY: help lab test pins clean
.SILENT:
LECTURE ?= 00
LAB_ARGS ?=
JOBS ?= 2
TESTS ?= tests notebooks solutions

help:
	echo "make lab    make the environment if it is missing, open JupyterLab on lecture $(LECTURE)  (LECTURE=01 for another)"
	echo "make test   the same environment, then everything that CI runs"

lab:
	PYTHON="$(PYTHON)" .ci/environment lab
	echo "course: opening JupyterLab on lecture $(LECTURE) (stop it with ctrl-C)"
	.venv/bin/course lab $(LECTURE) -- $(LAB_ARGS)

# Tests marked `alone` measure time: tests/conftest.py lets nothing run beside them.
test:
	PYTHON="$(PYTHON)" .ci/environment dev
	.ci/system-packages
	echo "course: running the tests, the notebooks and the style checks"
	failed=0; \
	.venv/bin/ruff check --quiet . && .venv/bin/ruff format --check . || failed=1; \
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	    --nbval-lax --nbval-current-env --nbval-cell-timeout=120 $(TESTS) || failed=1; \
	[ $$failed = 0 ] || echo "course: something failed, see above"; exit $$failed

# The tested set, from the environment as it stands.
pins:
	{ sed -n '/^#/p' constraints.txt; .venv/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv build dist *.egg-info
