# One door for everything. `make help` lists it.
export CGO_ENABLED = 0
PYTHON ?= python3
CACHE  := $(CURDIR)/.cache
VENV   := $(CACHE)/venv-$(shell sha256sum examples/screening/requirements.txt 2>/dev/null | cut -c1-12)
MLFLOW := $(CACHE)/mlflow-$(shell sha256sum test/conformance/mlflow/requirements.txt 2>/dev/null | cut -c1-12)
GO     ?= go

.PHONY: help build ui venv mlflow oip schemathesis demo test fuzz soak check bench bench-tracking bench-serving bench-monitoring generate proto clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ui ## bin/keelson, with the web interface inside
	$(GO) build -trimpath -tags ui -ldflags '-s -w' -o bin/keelson ./cmd/keelson

ui: ui/dist/index.html ## the web interface

ui/node_modules/.package-lock.json: ui/package-lock.json
	cd ui && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json

ui/dist/index.html: ui/node_modules/.package-lock.json $(shell find ui/src ui/index.html ui/vite.config.ts ui/package.json ui/scripts -type f 2>/dev/null)
	cd ui && npm run build --silent && touch dist/index.html

venv: $(VENV)/ready ## the private Python environment of the examples and the conformance tests
$(VENV)/ready: examples/screening/requirements.txt
	@echo "making the Python environment (once, about a minute) …"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r examples/screening/requirements.txt
	touch $@

mlflow: $(MLFLOW)/ready ## the private Python environment with the whole mlflow client, for test/conformance
$(MLFLOW)/ready: test/conformance/mlflow/requirements.txt
	@echo "making the environment of the mlflow client (once, about two minutes, 1.5 GB) …"
	$(PYTHON) -m venv $(MLFLOW)
	$(MLFLOW)/bin/pip install --quiet --disable-pip-version-check -r test/conformance/mlflow/requirements.txt
	touch $@

OIP := $(CACHE)/oip-$(shell sha256sum test/conformance/oip/requirements.txt 2>/dev/null | cut -c1-12)
oip: $(OIP)/ready ## the private Python environment with tritonclient and the libraries of every engine, for test/conformance
$(OIP)/ready: test/conformance/oip/requirements.txt
	@echo "making the environment of the inference protocol's clients (once, about a minute, 700 MB) …"
	$(PYTHON) -m venv $(OIP)
	$(OIP)/bin/pip install --quiet --disable-pip-version-check --no-deps -r test/conformance/oip/requirements.txt
	touch $@

SCHEMATHESIS := $(CACHE)/schemathesis-$(shell sha256sum test/schemathesis/requirements.txt 2>/dev/null | cut -c1-12)
schemathesis: $(SCHEMATHESIS)/ready ## the private Python environment with schemathesis, for test/soak
$(SCHEMATHESIS)/ready: test/schemathesis/requirements.txt
	$(PYTHON) -m venv $(SCHEMATHESIS)
	$(SCHEMATHESIS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r test/schemathesis/requirements.txt
	touch $@

demo: build venv ## the whole story on this machine, then keeps serving; DEMO_FLAGS=--once ends instead
	bin/keelson demo --python $(VENV)/bin/python $(DEMO_FLAGS)

test: build venv mlflow oip schemathesis ## every test; says at the end what had to be left out
	KEELSON_PYTHON=$(VENV)/bin/python KEELSON_MLFLOW_PYTHON=$(MLFLOW)/bin/python KEELSON_OIP_PYTHON=$(OIP)/bin/python KEELSON_SCHEMATHESIS_PYTHON=$(SCHEMATHESIS)/bin/python $(GO) run ./test/all

FUZZTIME ?= 5s
fuzz: ## the fuzz targets of serving, FUZZTIME each; PACKAGES=./... fuzzes every target there is
	$(GO) run ./test/fuzz -time $(FUZZTIME) $(PACKAGES)

SOAK ?= 10m
soak: build mlflow schemathesis ## the long forms: SOAK under load, kills, schemathesis, then every fuzz target of serving for five minutes
	KEELSON_BIN=$(CURDIR)/bin/keelson KEELSON_TEST_SOAK=$(SOAK) KEELSON_MLFLOW_PYTHON=$(MLFLOW)/bin/python KEELSON_SCHEMATHESIS_PYTHON=$(SCHEMATHESIS)/bin/python $(GO) test ./test/soak -v -count=1 -timeout 3h
	$(MAKE) fuzz FUZZTIME=5m

check: ## format, vet, generated files, then every test
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -checks all,-ST1000,-ST1003,-ST1005,-ST1016,-ST1020,-ST1021,-ST1022,-SA1019 ./...
	cd ui && npm run lint --silent
	$(MAKE) test

bench: build venv ## the figures of docs/benchmarks.md
	KEELSON_PYTHON=$(VENV)/bin/python $(GO) run ./test/bench

bench-tracking: build $(if $(PEER),,mlflow) ## the figures against mlflow server, half an hour; BENCH_FLAGS=-quick for a look, PEER names a python that has it
	$(GO) run ./test/bench/tracking -python $(or $(PEER),$(MLFLOW)/bin/python) $(BENCH_FLAGS)

SERVING := $(CACHE)/serving-$(shell sha256sum test/bench/serving/requirements.txt 2>/dev/null | cut -c1-12)
bench-serving: build $(if $(PEER),,$(SERVING)/ready) ## the figures against MLServer, ten minutes; BENCH_FLAGS=-quick for a look, PEER names a python that has it
	$(GO) run ./test/bench/serving -python $(or $(PEER),$(SERVING)/bin/python) $(BENCH_FLAGS)

$(SERVING)/ready: test/bench/serving/requirements.txt
	$(PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/pip install --quiet --disable-pip-version-check --no-deps -r test/bench/serving/requirements.txt
	touch $@

MONITORING := $(CACHE)/monitoring-$(shell sha256sum test/bench/monitoring/requirements.txt 2>/dev/null | cut -c1-12)
bench-monitoring: $(if $(PEER),,$(MONITORING)/ready) ## the figures against Evidently, NannyML, fairlearn, xgboost and shap, half an hour; BENCH_FLAGS=-quick for a look, PEER names a python that has them
	$(GO) run ./test/bench/monitoring -python $(or $(PEER),$(MONITORING)/bin/python) $(BENCH_FLAGS)

$(MONITORING)/ready: test/bench/monitoring/requirements.txt
	@echo "making the environment of the peers (once, about five minutes, 2 GB) …"
	$(PYTHON) -m venv $(MONITORING)
	$(MONITORING)/bin/pip install --quiet --disable-pip-version-check -r test/bench/monitoring/requirements.txt
	touch $@

generate: ## api/openapi.json, the reference pages and the types of the web interface
	UPDATE=1 $(GO) test ./internal/app ./cmd/keelson -run 'UpToDate|Description' -count=1
	cd ui && npm run --silent generate

PROTO := $(CACHE)/proto
proto: ## the Go code of the gRPC protocol, from internal/oip/inference/inference.proto
	$(PYTHON) -m venv $(PROTO)
	$(PROTO)/bin/pip install --quiet --disable-pip-version-check grpcio-tools==1.76.0
	GOBIN=$(PROTO)/bin $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
	GOBIN=$(PROTO)/bin $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0
	cd internal/oip/inference && PATH=$(PROTO)/bin:$$PATH $(PROTO)/bin/python -m grpc_tools.protoc -I . \
	  --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative inference.proto

clean: ## what the other targets made
	rm -rf bin .cache ui/dist ui/node_modules
