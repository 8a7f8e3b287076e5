# make demo   create .venv, install, run the whole recipe at tiny size
# make test   create .venv if needed, run the tests
# make test-busy  the tests three times over, with a core kept busy by other work
# make test-slow  the long tests (marked slow), which make test leaves out
# make peers  a virtual environment for each peer of the benchmarks, under .peers/
# make check  ruff, types, import contracts
# make pythons  which extra installs on which Python (asks the package index, installs nothing)
# .venv is made with the newest supported Python that works; PYTHON=/path/to/python3.12 names another. One that stands is kept.
PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
# torch first: where no CPU build is at hand set TORCH_INDEX="--index-url <the PyTorch CPU index>" (see README).
TORCH_INDEX ?=
export OMP_NUM_THREADS := 1

.PHONY: demo test test-busy test-slow peers check pythons format install clean

demo: $(VENV)/.installed
	$(BIN)/cookhouse run recipe=tiny

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow"

# The spinner ends with the shell that started it, however that ends.
test-busy: $(VENV)/.installed
	taskset -c 0 sh -c 'while kill -0 $$PPID 2>/dev/null; do :; done' & \
	for turn in 1 2 3; do $(MAKE) test || exit 1; done

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow --timeout=1800

peers: $(VENV)/.installed
	$(BIN)/python -m benchmarks.peers

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pythons: $(VENV)/.installed
	$(BIN)/python infra/python_versions.py

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed

# paddlex pins a non-headless OpenCV, rapidocr pulls the headless one, and both write the folder cv2. The headless one is
# laid down last and import proves it: no GUI in its build, the version of constraints.txt.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { python=$$(infra/find_python.sh $(PYTHON)) && echo "$(VENV): made with $$python" && $$python -m venv $(VENV); }
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH_INDEX) -c constraints.txt "torch>=2.9,<2.14"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps --force-reinstall -c constraints.txt opencv-python-headless
	$(BIN)/python -c "import cv2, importlib.metadata as m; assert cv2.__version__ == m.version('opencv-python-headless')[:len(cv2.__version__)], cv2.__version__; assert any(l.split() == ['GUI:', 'NONE'] for l in cv2.getBuildInformation().splitlines()), 'cv2 is not headless'; print('cv2', cv2.__version__, 'headless')"
	touch $@

clean:
	rm -rf $(VENV) artifacts build *.egg-info
