# Everything that a developer or CI runs. Needs Rust and Go; nothing else, but pip for `deny`.

.DEFAULT_GOAL := help
.PHONY: help control-plane tools node clients build image test test-existing e2e attacks nightly fuzz switch demo check deny bench bench-encoders crds charts references

CRDS := crds/trust.cert-manager.io_bundles.yaml crds/rootcast.dev_distrusts.yaml
# What the chart has copies of in its folder of files, each with the copy's name.
COPIED := $(join $(CRDS),:bundles.yaml :distrusts.yaml) config/monitoring/prometheus-rule.yaml:prometheus-rule.yaml \
	config/monitoring/dashboard.json:dashboard.json config/guard/controller.yaml:controller-policy.yaml \
	config/injector/policy.yaml:injector-policy.yaml
# Calls a program with each of these and its copy.
each_copy = $(foreach copied,$(COPIED),$(1) $(subst :, charts/rootcast/files/,$(copied)) &&) true
# A target is named so that flags hold for the program only, not for the procedural macros that the compiler loads.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# The C library is linked in, and what the program has to correct of itself at its start is told briefly (400 KB less).
STATIC := -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs
ONCE ?=
PARTS ?=
# How long each fuzzer runs, and which.
FUZZ_SECONDS ?= 900
FUZZERS ?= bundle der jks kubeconfig pem pkcs12 review

help: ## Show this list.
	@awk -F ': ## ' '/^[a-z0-9-]+: ## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Prerequisites are on lines of their own, so that `help` finds every target.

control-plane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl into the user's cache (9 minutes, once).
	@e2e/control-plane/build

tools: ## Build helm and build or fetch promtool into the user's cache (2 minutes, once; 5 without apt-get).
	@e2e/tools/build

node: ## Build kubelet, scheduler and kube-proxy as well, and fetch containerd, for e2e (2 minutes more, once; Debian only).
	@e2e/control-plane/build node
	@e2e/node/build

clients: ## Make the image of TLS clients that e2e puts Bundles before (2 minutes, once; root on a Debian with debootstrap).
	@e2e/clients/build

build: ## Build the program, target/static/rootcast: all that the image has, and, on Linux, without any library of the system.
	RUSTFLAGS='$(if $(findstring linux,$(HOST)),$(STATIC))' cargo build --release --locked --package rootcast --bin rootcast --target $(HOST)
	mkdir -p target/static
	ln -f target/$(HOST)/release/rootcast target/static/rootcast

image: ## Make the image without a container engine: target/image/rootcast.tar, an OCI archive.
image: build
	@cargo run --locked --quiet --package rootcast-e2e --bin image -- target/image/rootcast.tar

# Most tests wait for a control plane more than they compute: of two programs at a time, two tests each.
test: ## Run every test; those that need a cluster start a real control plane.
test: control-plane tools build
	cargo test --locked --workspace --doc
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-2} e2e/side-by-side --locked --workspace

test-existing: ## Run the tests of `rootcast status` on a control plane that they did not start.
test-existing: control-plane build
	cargo build --locked --package rootcast-e2e --bin with-control-plane
	target/debug/with-control-plane cargo test --locked --package rootcast-e2e --test status

e2e: ## Run the product in pods of a real node on this machine, and attack it; as root, on a Debian.
e2e: node tools clients image
	RUST_TEST_THREADS=1 RUST_TEST_NOCAPTURE=1 e2e/side-by-side --locked --package rootcast-e2e --test node --test attacks

attacks: ## Only attack the product under its shipped memory limits (6 minutes); as root.
attacks: control-plane tools
	cargo test --locked --package rootcast-e2e --test attacks -- --test-threads=1 --nocapture

nightly: ## Run what takes longer than CI has: whole sweeps, attacks in full size, fuzzing (3 hours); as root.
nightly: control-plane tools build
	ROOTCAST_FUZZ_CASES=100000 cargo test --release --locked --package rootcast --test webhook
	ROOTCAST_FUZZ_CASES=20000 cargo test --release --locked --package rootcast-e2e --test fanout property
	ROOTCAST_RETENTION_CASES=300000 cargo test --release --locked --package rootcast --test retention
	KILL_POINTS=20 cargo test --locked --package rootcast-e2e --test rotation killed_at_any_write -- --nocapture
	ROTATING_NAMESPACES=1000 cargo test --locked --package rootcast-e2e --test rotation many_large_targets -- --nocapture
	FLAPPING_SECONDS=600 cargo test --locked --package rootcast-e2e --test objects flapping
	LABELLED_NAMES=60000 cargo test --locked --package rootcast-e2e --test attacks -- --test-threads=1 --nocapture names_that
	@cargo run --release --locked --quiet --package rootcast-bench --bin bench -- --keep attacks attacks
	$(MAKE) fuzz

fuzz: ## Run each fuzzer for 15 minutes (FUZZ_SECONDS) from tests/corpus; takes a nightly toolchain and cargo-fuzz.
	@fuzz/run '$(FUZZ_SECONDS)' $(FUZZERS)

switch: ## Replace a live trust-manager on a node and come back; TRUST_MANAGER names a checkout of its repository.
switch: node tools image
	cargo test --locked --package rootcast-e2e --test switch -- --nocapture

# Cargo builds program and demo, in one profile, while Go builds the control plane: each waits at times for a download or a
# linker.
demo: ## Watch rootcast at work in a throwaway control plane (9 minutes to build, once); ONCE=1 ends by itself.
	@e2e/beside 'e2e/control-plane/build $(if $(ROOTCAST_E2E_KUBECONFIG),kubectl,demo) >/dev/null' \
		'cargo build --locked --profile demo --no-default-features --package rootcast --bin rootcast --package rootcast-e2e --bin demo'
	@target/demo/demo --program target/demo/rootcast $(if $(ONCE),--once)

check: ## Check subjects of commits, workflows, format, lints, documentation, generated files and links, as CI does.
	.ci/subjects
	actionlint=$$(e2e/tools/build actionlint) && $$actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	$(call each_copy,cmp) || { echo 'the chart has an old copy: run `make charts`' >&2; exit 1; }
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --package rootcast-e2e --test node --test attacks --test switch -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
	cargo test --locked --quiet --package rootcast --test crd_drift --test readme --test metrics --test links
	@e2e/tools/build helm >/dev/null
	cargo test --locked --quiet --package rootcast-e2e --test chart golden::the_chart_renders

deny: ## Check the licenses and sources of all dependencies; takes Python's pip.
	.ci/deny

bench: ## Measure fan-out and injector on a real API server (16 minutes); PARTS=injector: only a part of it.
bench: control-plane build
	@cargo run --release --locked --quiet --package rootcast-bench --bin bench -- $(PARTS)

bench-encoders: ## Measure the encoders beside those that trust-manager uses.
	cargo bench --locked --package rootcast-bench --bench encode

crds: ## Write the CRDs anew from the Rust types, here and in the chart.
	REWRITE=1 cargo test --locked --quiet --package rootcast --test crd_drift the_committed
	$(call each_copy,cp)

charts: ## Write what the chart renders anew, for `git diff` to show.
charts: tools
	$(call each_copy,cp)
	REWRITE=1 cargo test --locked --quiet --package rootcast-e2e --test chart golden::the_chart_renders

references: ## Write the generated parts of docs/ anew from the program, for `git diff` to show.
	REWRITE=1 cargo test --locked --quiet --package rootcast --test readme --test metrics --test crd_drift
