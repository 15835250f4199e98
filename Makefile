# Two commands set everything up on a fresh machine with Python >= 3.11: `make demo` and `make test`.
VENV := .venv
BIN := $(VENV)/bin
HOSTS := @anthropic-ai/claude-code@2.1.329 @google/gemini-cli@0.61.0 @openai/codex@0.169.0 @github/copilot@1.0.102 \
	opencode-ai@1.18.33 cline@3.0.65 oidc-provider@9.13.3 \
	@modelcontextprotocol/ext-apps@2.0.4 @modelcontextprotocol/client@2.0.0 esbuild@0.28.2
# What runs batches in the soak, each Python one in an environment of its own: NAME:REQUIREMENT,...
# instructor 1.17.0 closes its client before it reads the results.
SDK_JS := @anthropic-ai/sdk@1.14.0
LIBRARIES := sdk:anthropic==2.14.0 sdk-0:anthropic==0.49.0 instructor:instructor==1.15.0,anthropic==0.125.0 \
	promptbatch:promptbatch==0.2.0,anthropic==2.14.0 airflow:apache-airflow-core==3.3.2,-e,.[cluster]
DEPLOY := dclint@3.1.0 oidc-provider@9.13.3
# The tests mostly wait for processes, so that there may be more of them than cores.
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null | awk '{n = $$1 < 4 ? 4 : $$1 > 8 ? 8 : $$1} END {print n ? n : 4}')
# The tests of functions, whose coverage is bounded in pyproject.toml.
MEASURED := tests/unit tests/corpus tests/contract
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: help demo test check format golden bench soak bundle hosts browser deploy shared clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

demo: $(VENV)/.installed  ## play the whole journey of a batch against the sandbox: no API key needed
	@$(BIN)/batches-mcp demo

test: $(VENV)/.installed-dev  ## run the test suite, and measure which branches its unit tests reach
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -n $(WORKERS) $(MEASURED)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(MEASURED:%=--ignore=%)

soak: $(VENV)/.installed-dev .libraries/.installed  ## run the long fault and kill matrices, and the SDKs and libraries of others (needs node)
	@$(BIN)/python -m pytest -q -m soak --timeout 3000

check: $(VENV)/.installed-dev  ## lint, types and the layer test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_layers.py

format: $(VENV)/.installed-dev  ## format the code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

golden: $(VENV)/.installed-dev  ## rewrite the golden files and the generated parts of the README, then show what changed
	@BATCHES_MCP_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/contract tests/release tests/test_readme.py
	@git diff --stat

bench: $(VENV)/.installed-dev  ## run the benchmarks (a few minutes)
	@$(BIN)/python -m benchmarks

bundle: $(VENV)/.installed  ## build the bundle for Claude Desktop into dist/, without network
	@$(BIN)/python -m release.bundle

hosts: $(VENV)/.installed-dev  ## install the real hosts from npm and let each connect (needs node, Chromium, and network to install)
	@npm install --force --silent --no-fund --no-audit --prefix .hosts $(HOSTS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test-browser]'
	@$(BIN)/python -m pytest -q -m hosts --timeout 300 tests/hosts tests/browser

browser: $(VENV)/.installed-dev  ## run the dashboard in Chromium (needs Chromium, and network to install a driver)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test-browser]'
	@$(BIN)/python -m pytest -q -m browser tests/browser

shared: $(VENV)/.installed-dev  ## run the tests of money, results and retries on PostgreSQL and an object store
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m shared --timeout 300

deploy: $(VENV)/.installed-dev  ## lint deploy/ with its own tools, and run two servers behind nginx (needs node and nginx, and network to install)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test-deploy]'
	@npm install --silent --no-fund --no-audit --prefix .deploy $(DEPLOY)
	@$(BIN)/python -m pytest -q -m deploy --timeout 300 tests/deploy

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "batches-mcp needs Python 3.11 or later; none was found. Set PYTHON=/path/to/python3." >&2; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "The virtual environment could not be made. \
	On Debian and Ubuntu: sudo apt install python3-venv. Then run make again." >&2; exit 1; }

.libraries/.installed: Makefile | $(VENV)/bin/python
	@echo "Installing the SDKs and libraries that the soak runs (a minute)"
	@npm install --force --silent --no-fund --no-audit --prefix .libraries $(SDK_JS)
	@for each in $(LIBRARIES); do \
		$(BIN)/python -m venv --clear .libraries/$${each%%:*} && \
		.libraries/$${each%%:*}/bin/python -m pip install --quiet --disable-pip-version-check \
		$$(echo "$${each#*:}" | tr , ' ') || exit 1; done
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing batches-mcp into $(VENV) (the first time takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing batches-mcp and its development tools into $(VENV) (the first time takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed
