# What a person types. Every target sets itself up in an environment of its own under .venv/;
# needed are Python 3.10 to 3.13 with its headers, a C compiler and a package index.
#   make test PYTHON=python3.12      another Python (remove .venv/ when changing it)

PYTHON ?= python3
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

C_FILES := $(wildcard csrc/*/*.[ch])
PACKAGE_FILES := pyproject.toml setup.py $(C_FILES) $(shell find tlcore -name '*.py*' -not -path '*/__pycache__/*')

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1:\2/p' $(MAKEFILE_LIST) | awk -F: '{printf "  make %-10s %s\n", $$1, $$2}'

# --- what a user does -------------------------------------------------------------------------

demo: .venv/demo/ready ## install tlcore as a user would, draw pictures and train on them
	.venv/demo/bin/tlcore demo demo

.venv/demo/ready: $(PACKAGE_FILES)
	$(PYTHON) -m venv .venv/demo
	.venv/demo/bin/pip install -q .
	@touch $@

# --- what a developer does --------------------------------------------------------------------

DEV := .venv/dev/bin
FORMATTED := $(C_FILES) $(wildcard tests/c/*.[ch] benchmarks/*.c)

build: .venv/dev/built ## the package, editable, with all developer tools; again after a C edit
	@echo "Built. $(DEV)/python imports this tree."

.venv/dev/tools: pyproject.toml
	$(PYTHON) -m venv .venv/dev
	$(DEV)/pip install -q -e '.[build,test,lint]'
	@touch $@

# An editable install has just built everything, a later C edit needs the extension alone.
.venv/dev/built: .venv/dev/tools setup.py $(C_FILES)
	$(if $(filter %/tools,$?),,$(DEV)/python setup.py -q build_ext --inplace)
	@touch $@

test: build ## all tests but parity: golden values, notebooks, C programs
	$(DEV)/pytest

test-c: build ## the C core's own tests, without Python
	$(MAKE) --no-print-directory -C tests/c run PYTHON=$(abspath $(DEV)/python)

lint: build ## ruff, mypy, clang-format, and the C code with warnings as errors
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy
	$(DEV)/clang-format --dry-run -Werror $(FORMATTED)
	TLCORE_DEBUG=1 $(DEV)/python setup.py -q build_ext

format: build ## rewrite the sources as lint wants them
	$(DEV)/ruff check --fix
	$(DEV)/ruff format
	$(DEV)/clang-format -i $(FORMATTED)

notebooks: build ## execute the notebooks in place
	$(DEV)/python notebooks/run.py

# --- slow checks ------------------------------------------------------------------------------

# tf-keras without its dependencies: they would put the CUDA build over tensorflow-cpu.
.venv/parity/tools:
	$(PYTHON) -m venv .venv/parity
	.venv/parity/bin/pip install -q tensorflow-cpu keras ai-edge-litert scipy pytest
	.venv/parity/bin/pip install -q --no-deps tf-keras
	@touch $@

.venv/parity/ready: .venv/parity/tools $(PACKAGE_FILES)
	.venv/parity/bin/pip install -q .
	@touch $@

parity: .venv/parity/ready ## compare directly with the real Keras, tf-keras and LiteRT
	.venv/parity/bin/pytest tests/parity -W default

SANITIZED := build-tlcore_sanitize/logs
SANITIZED_TESTS := $(addprefix tests/unit/test_,models.py layers.py training_fit.py training_features.py)
# Without frame pointers in the interpreter only the slow way of walking a stack reaches our frames.
SANITIZER_OPTIONS := detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=12

sanitize: build ## the C tests and a part of the suite under the address and UB sanitizers
	$(MAKE) --no-print-directory -C tests/c run SANITIZE=1 PYTHON=$(abspath $(DEV)/python)
	TLCORE_SANITIZE=1 $(DEV)/python setup.py -q build
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	PYTHONMALLOC=malloc PYTHONPATH=$$(echo $(CURDIR)/build-tlcore_sanitize/lib.*) \
	ASAN_OPTIONS=$(SANITIZER_OPTIONS):log_path=$(CURDIR)/$(SANITIZED)/log LSAN_OPTIONS=exitcode=0 \
	$(DEV)/pytest -p no:cacheprovider $(SANITIZED_TESTS)
	@# The interpreter leaks at exit, too; a stack with our sources in it is ours.
	@if grep -l csrc/ $(SANITIZED)/*; then echo "These logs tell of leaks of ours."; exit 1; fi

coverage: build ## lines and branches that the tests run, C and Python, a line for each room
	$(DEV)/python tests/coverage_report.py

matrix: build ## the suite on Python 3.10 to 3.13 with old and new libraries (PYTHONS="3.12 3.13")
	$(DEV)/python tests/matrix.py $(PYTHONS)

# --- benchmarks -------------------------------------------------------------------------------

# The peers' Pythons may be given: make bench TORCH_PYTHON=/path/to/python. OTHERS_PYTHON, with
# onnxruntime and onnx or with openvino, joins in where it is given.
TF_PYTHON ?= .venv/bench-tf/bin/python
TORCH_PYTHON ?= .venv/bench-torch/bin/python

.venv/bench-tf/bin/python:
	$(PYTHON) -m venv .venv/bench-tf
	.venv/bench-tf/bin/pip install -q tensorflow-cpu keras ai-edge-litert pillow h5py

.venv/bench-torch/bin/python:
	$(PYTHON) -m venv .venv/bench-torch
	.venv/bench-torch/bin/pip install -q torch numpy pillow h5py

bench: .venv/demo/ready $(TF_PYTHON) $(TORCH_PYTHON) ## tlcore against TensorFlow, LiteRT and torch in one run
	.venv/demo/bin/python benchmarks/bench_predict.py --tensorflow $(TF_PYTHON) --torch $(TORCH_PYTHON) \
		$(if $(OTHERS_PYTHON),--others $(OTHERS_PYTHON))
	.venv/demo/bin/python benchmarks/bench_fit.py --tensorflow $(TF_PYTHON) --torch $(TORCH_PYTHON)

clean: ## remove what was built, but not the environments
	rm -rf build build-* dist *.egg-info tlcore/_lib tlcore/*.so .venv/*/built .venv/*/ready

.PHONY: help demo build test test-c lint format notebooks parity sanitize coverage matrix bench clean
