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
FORMATTED := $(C_FILES) $(wildcard tests/c/*.[ch] tests/fuzz/*.[ch] benchmarks/*.c)

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
	.venv/parity/bin/pip install -q tensorflow-cpu keras ai-edge-litert scikit-learn scipy pandas pytest
	.venv/parity/bin/pip install -q --no-deps tf-keras
	@touch $@

.venv/parity/ready: .venv/parity/tools $(PACKAGE_FILES)
	.venv/parity/bin/pip install -q .
	@touch $@

parity: .venv/parity/ready ## compare directly with the real Keras, tf-keras and LiteRT
	.venv/parity/bin/pytest tests/parity -W default

# Its tests write PNGs that Pillow 13 refuses.
.venv/suite/ready: $(PACKAGE_FILES)
	$(PYTHON) -m venv .venv/suite
	.venv/suite/bin/pip install -q . 'pillow<13' pandas pytest
	@touch $@

keras-preprocessing-suite: .venv/suite/ready ## keras-preprocessing's own tests of pictures, with tlcore in its place
	.venv/suite/bin/python tests/parity/keras_preprocessing_suite.py $(CHECKOUT)

SANITIZED := $(CURDIR)/build-tlcore_sanitize
RACED := $(CURDIR)/build-tlcore_sanitize-thread
SUPPRESSIONS := $(CURDIR)/tests/sanitizers
C_TESTS := $(MAKE) --no-print-directory -C tests/c PYTHON=$(abspath $(DEV)/python)
# Without frame pointers in the interpreter only the slow way of walking a stack reaches our frames.
# The build comes first in PYTHONPATH; spawned processes find the tests in what comes behind.
ASAN := detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=12:allocator_may_return_null=1
# A report of a leak or a race with our sources in a stack is ours; the interpreter has its own. A
# child that ThreadSanitizer ended has tested nothing.
OURS_IN = if grep -lE 'csrc/|Dying' $(1)/logs/log.* 2>/dev/null; then echo "These reports are ours to judge."; exit 1; fi

# Left out under the address sanitizer:
# the peers bring allocators of their own
SANITIZED_WITHOUT := --ignore=tests/parity
# build the C tests without it; they run with it in sanitize-c
SANITIZED_WITHOUT += --ignore=tests/test_c.py --ignore=tests/unit/test_random_graphs.py
# what setup.py says: runs no C of ours
SANITIZED_WITHOUT += --ignore=tests/test_build.py
# a kernel that calls what test_blog_program calls
SANITIZED_WITHOUT += --ignore=tests/test_notebooks.py
# bounded in CPU time; it calls of C what test_blog_program calls
SANITIZED_WITHOUT += --ignore=tests/unit/test_datasets.py
# limits the address space, of which the sanitizer reserves terabytes
SANITIZED_WITHOUT += --ignore=tests/test_memory_limits.py
# freed blocks stay in the quarantine: memory grows, and is judged
SANITIZED_WITHOUT += --deselect=tests/fuzz/test_campaigns.py::test_every_deed_is_seen
SANITIZED_WITHOUT += --deselect=tests/test_lifetime.py::test_memory_and_threads_are_flat_over_a_thousand_predictions
SANITIZED_WITHOUT += --deselect=tests/test_lifetime.py::test_stretches_beyond_the_last_few_give_their_memory_back
SANITIZED_WITHOUT += --deselect=tests/unit/test_preprocessing_hostile.py::test_memory_is_what_was_reckoned

# gcc's libasan (up to 13) does not hold its allocator's lock over a fork: a child that is forked
# while another thread allocates waits for ever. The C library's own malloc does. And the soak of
# seconds does too little in them, so much slower, for a line through its measurements.
SANITIZED_WITHOUT += -k "not forks_ and not soak_of"

sanitize: sanitize-c sanitize-address sanitize-thread ## C tests under ASan+UBSan, TSan and valgrind; the suite under ASan, threads under TSan

sanitize-c: build
	$(C_TESTS) run SANITIZE=1
	$(C_TESTS) run SANITIZE=thread
	$(C_TESTS) memcheck

sanitize-address: build
	TLCORE_SANITIZE=1 $(DEV)/python setup.py -q build
	rm -rf $(SANITIZED)/logs && mkdir -p $(SANITIZED)/logs
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	PYTHONMALLOC=malloc PYTHONPATH=$$(echo $(SANITIZED)/lib.*):$(CURDIR) \
	ASAN_OPTIONS=$(ASAN):log_path=$(SANITIZED)/logs/log \
	LSAN_OPTIONS=exitcode=0:print_suppressions=0:suppressions=$(SUPPRESSIONS)/lsan.txt \
	$(DEV)/pytest -p no:cacheprovider tests $(SANITIZED_WITHOUT)
	@$(call OURS_IN,$(SANITIZED))

# A child that is forked beside threads and starts its own is what ThreadSanitizer cannot follow: it
# ends the child, with exit code 0 here. Allowed to go on, its pthread_once, which does not know of
# the fork, waits for a thread of the parent.
sanitize-thread: build
	TLCORE_SANITIZE=thread $(DEV)/python setup.py -q build
	rm -rf $(RACED)/logs && mkdir -p $(RACED)/logs
	LD_PRELOAD="$$(cc -print-file-name=libtsan.so)" PYTHONPATH=$$(echo $(RACED)/lib.*):$(CURDIR) \
	TSAN_OPTIONS=exitcode=0:suppressions=$(SUPPRESSIONS)/tsan.txt:log_path=$(RACED)/logs/log \
	$(DEV)/pytest -p no:cacheprovider tests/test_threads.py -k "not fork and not child and not soak"
	@$(call OURS_IN,$(RACED))

# Long hunts; what they find is kept, and said. FUZZ_SECONDS for each target, FUZZ_FILES damaged
# files of each kind, FUZZ_EXAMPLES of each property.
FUZZ_SECONDS ?= 60
FUZZ_FILES ?= 10000
FUZZ_EXAMPLES ?= 300
FUZZED := build/fuzz
PROPERTIES := $(addprefix tests/unit/test_,random_graphs.py saving_copies.py preprocessing_properties.py)

.venv/dev/fuzz: .venv/dev/tools
	$(DEV)/pip install -q 'atheris>=2.3'
	@touch $@

fuzz: build .venv/dev/fuzz ## damaged files, random graphs, random programs; needs clang
	$(MAKE) --no-print-directory -C tests/fuzz run PYTHON=$(abspath $(DEV)/python) SECONDS=$(FUZZ_SECONDS)
	@mkdir -p $(FUZZED)
	set -e; for kind in h5 pictures features; do $(DEV)/python tests/fuzz/mutate_$$kind.py --count $(FUZZ_FILES); done
	set -e; cd $(FUZZED); for kind in h5 pictures texts; do \
	  $(abspath $(DEV)/python) $(CURDIR)/tests/fuzz/fuzz_$$kind.py -max_total_time=$(FUZZ_SECONDS); done
	TLCORE_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(DEV)/pytest $(PROPERTIES)

faults: build ## every refused allocation of the process, and every limit of its memory
	$(C_TESTS) all
	build/tests-c/test_refusals 1
	TLCORE_MEMORY_STEPS=100 $(DEV)/pytest tests/test_memory_limits.py

soak: build ## 2,000 forks, hundreds of interruptions and kills, ten minutes of everything
	$(DEV)/python tests/soak/forks.py --count 2000
	$(DEV)/python tests/soak/interruptions.py
	$(DEV)/python tests/soak/soak.py --minutes 10

learn: build ## MobileNetV2 learns ten kinds of drawings from nothing (two minutes)
	TLCORE_LEARN=1 $(DEV)/pytest -s tests/test_learning.py

coverage: build ## lines and branches that the tests run, C and Python, a line for each room
	$(DEV)/python tests/coverage_report.py

matrix: build ## the suite on Python 3.10 to 3.13 with old and new libraries (PYTHONS="3.12 3.13")
	$(DEV)/python tests/matrix.py $(PYTHONS)

# --- benchmarks -------------------------------------------------------------------------------

# The peers' Pythons may be given: make bench TORCH_PYTHON=/path/to/python
TF_PYTHON ?= .venv/bench-tf/bin/python
TORCH_PYTHON ?= .venv/bench-torch/bin/python
OTHERS_PYTHON ?= .venv/bench-others/bin/python
BENCH := .venv/demo/bin/python benchmarks
PEERS := --tensorflow $(TF_PYTHON) --torch $(TORCH_PYTHON)

.venv/bench-tf/bin/python:
	$(PYTHON) -m venv .venv/bench-tf
	.venv/bench-tf/bin/pip install -q tensorflow-cpu keras ai-edge-litert pillow h5py

.venv/bench-torch/bin/python:
	$(PYTHON) -m venv .venv/bench-torch
	.venv/bench-torch/bin/pip install -q torch numpy pillow h5py

.venv/bench-others/bin/python:
	$(PYTHON) -m venv .venv/bench-others
	.venv/bench-others/bin/pip install -q openvino onnxruntime onnx

bench: .venv/demo/ready $(TF_PYTHON) $(TORCH_PYTHON) $(OTHERS_PYTHON) ## tlcore against TensorFlow, LiteRT, torch, OpenVINO, ONNX Runtime (an hour)
	@mkdir -p build/bench
	$(BENCH)/bench_predict.py $(PEERS) --others $(OTHERS_PYTHON) --alpha 1.0 0.35 --compile \
		--json build/bench/predict.json --picture docs/speed.svg
	$(BENCH)/bench_predict.py $(PEERS) --others $(OTHERS_PYTHON) --alpha 1.0 0.35 --isa avx2 \
		--json build/bench/predict-avx2.json
	$(BENCH)/bench_layers.py --json build/bench/layers.json --picture docs/roofline.svg
	$(BENCH)/bench_start.py
	$(BENCH)/bench_fit.py $(PEERS)
	$(BENCH)/bench_pictures.py $(PEERS) --json build/bench/pictures.json
	$(BENCH)/bench_train.py $(PEERS) --json build/bench/train.json
	$(BENCH)/bench_train.py $(PEERS) --epochs 10

choices: build ## measure anew which kernel runs which block: csrc/kernels/choices.inc
	$(DEV)/python benchmarks/bench_layers.py --write

clean: ## remove what was built, but not the environments
	rm -rf build build-* dist *.egg-info tlcore/_lib tlcore/*.so .venv/*/built .venv/*/ready

.PHONY: help demo build test test-c lint format notebooks parity sanitize sanitize-c sanitize-address \
  sanitize-thread fuzz faults soak learn coverage matrix bench choices clean
