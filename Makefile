# One line each; every target first builds .venv from requirements.lock (a no-op while neither changes).
.ONESHELL:
.SHELLFLAGS := -euc
# Where this is set, each start of a gateway would compile all of its modules anew, which takes a second.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: install graph-sdk plugins run test check bench bench-relay bench-mapping bench-filedrop bench-mqtt bench-exchange bench-sync soak soak-crash soak-power fuzz thorough matrix docs

PY      := .venv/bin/python
# Debian's own Python is built with profile-guided optimisation; one built by hand is 10 to 30 % slower.
PYTHON  ?= $(firstword $(foreach p,/usr/bin/python3 python3,$(shell $(p) -c '$(USABLE)' 2>&- && echo $(p))) python3)
USABLE  := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
KILLS   ?= 50
POINTS  ?= 200
WORKERS ?= 1 2 4
SPOOL   ?= sqlite postgresql
FUZZ_S  ?= 600
TARGETS ?= *
MAPPING ?= sqlite

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("gatepost needs Python 3.11 or later; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv || { echo 'gatepost needs the venv module of Python: apt-get install python3-venv' >&2; exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	# By its folder's name: else each start imports a finder of modules first, a tenth of the time of a short command.
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	touch $@

# Microsoft's own Graph client, which only tests use: 400 MB, so it has an environment of its own.
graph-sdk: build/graph-sdk/installed

build/graph-sdk/installed: tests/peers/graph/sdk.lock
	$(PYTHON) -m venv --clear build/graph-sdk
	build/graph-sdk/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r $<
	touch $@

# The connectors of examples/ are no part of the gateway: each has an environment of its own, which sees that of the
# gateway and adds what the connector needs.
plugins: $(patsubst %,build/plugins/%/installed,webhook xmpp)

build/plugins/%/installed: examples/gatepost-%/requirements.lock examples/gatepost-%/pyproject.toml | .venv/installed
	$(PY) -m venv --without-pip --clear build/plugins/$*
	own="$$(build/plugins/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	gateway="$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	printf 'import site; site.addsitedir("%s")\n' "$$gateway" > "$$own/gateway.pth"
	$(PY) -m pip --python build/plugins/$*/bin/python install --quiet --disable-pip-version-check --require-hashes -r $<
	$(PY) -m pip --python build/plugins/$*/bin/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e examples/gatepost-$*
	touch $@

run: install
	$(PY) examples/quickstart/$(if $(EXCHANGE),exchange,run).py $(if $(ONCE),--once)

test: peers install graph-sdk plugins
	$(PY) -m pytest -n 5 --dist loadgroup -q $(TESTS)

check: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: bench-relay
	for each in tests/benchmarks/bench_*.py; do case $$each in */bench_relay.py | */bench_relay_dkim.py) continue ;; esac; $(PY) -m $$(echo $${each%.py} | tr / .); done

bench-relay: peers install
	missed=0
	$(PY) -m tests.benchmarks.bench_relay --workers "$(WORKERS)" --spool "$(SPOOL)" || missed=1
	$(PY) -m tests.benchmarks.bench_relay_dkim || missed=1
	exit $$missed

bench-mapping: peers install
	missed=0
	$(PY) -m tests.benchmarks.bench_relay_mapped || missed=1
	$(PY) -m tests.benchmarks.bench_mapping --database "$(MAPPING)" || missed=1
	exit $$missed

bench-filedrop: peers install
	$(PY) -m tests.benchmarks.bench_filedrop

bench-mqtt: peers install
	$(PY) -m tests.benchmarks.bench_mqtt

bench-exchange: peers install
	$(PY) -m tests.benchmarks.bench_exchange

bench-sync: peers install
	$(PY) -m tests.benchmarks.bench_sync

soak: soak-crash soak-power plugins
	$(PY) -m tests.crash.soak_big
	$(PY) -m tests.crash.soak_mqtt --kills $(KILLS)
	$(PY) -m tests.crash.soak_sendmail --kills $(KILLS)
	$(PY) -m tests.crash.soak_local --kills $(KILLS)
	$(PY) -m tests.crash.soak_exchange --kills $(KILLS)
	$(PY) -m tests.crash.soak_sync --kills $(KILLS)
	GATEPOST_KILL_POINTS=60 $(PY) -m pytest -q -n 4 --dist loadgroup -k killed_at_every_step tests
	GATEPOST_KILL_POINTS=60 $(PY) -m pytest -q -o timeout=1800 -k its_own_tests tests/examples
	GATEPOST_KILLS=every $(PY) -m pytest -q -k everywhere tests/connectors/exchange
	GATEPOST_KILLS=every $(PY) -m pytest -q tests/connectors/exchange/test_killed.py tests/connectors/exchange/graph/test_killed_graph.py tests/connectors/filedrop/test_killed.py tests/gateway/sync/test_engine.py
	GATEPOST_TWO_WAY=200 GATEPOST_EXAMPLES=thorough $(PY) -m pytest -q tests/integration/test_sync_two_way.py
	GATEPOST_CUTOVER=50,10 $(PY) -m pytest -q -s -o timeout=1800 -k "each_message or every_step or was_cut or random_moments" tests/integration/test_cutover.py tests/gateway/sync/test_course_steps.py
	GATEPOST_HUGE_MIB=2100 $(PY) -m pytest -q -s -k huge tests/connectors/filedrop/test_many_a_file.py

soak-crash: peers install
	$(PY) -m tests.crash.soak_crash --kills $(KILLS)

soak-power: peers install
	$(PY) -m tests.crash.soak_power --points $(POINTS)

fuzz: install
	set -f
	$(PY) -m tests.fuzz --each $(FUZZ_S) $(foreach t,$(TARGETS),--target '$(t)')

thorough: install
	GATEPOST_EXAMPLES=thorough $(PY) -m pytest -n 2 -q -m hypothesis tests
	GATEPOST_EXAMPLES=thorough $(PY) -m pytest -n 2 -q -m "not hypothesis" $$(grep -rl "tests.depth import" tests --include='test_*.py')

matrix: install
	$(PY) -m tests.mappings.matrix

docs: install
	.venv/bin/mkdocs build --strict --site-dir build/site

.PHONY: peers
peers:
	@bash tests/bootstrap.sh
