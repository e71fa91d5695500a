# The commands people and CI run; they are the same.
#
#   make test     installs the clients the tests need (Debian and Fedora, as root or with sudo), runs every test
#   make soak     the storm of clients and the kills, for SECONDS=180 and at least KILLS=0 kills; prints what was done (see docs/reliability.md)
#   make check    formatting, lints, licences and advisories
#   make clients  only the first half of `make test`
#   make man      man pages into target/man, completions into target/completions
#   make rpm      target/package/rpm: RPM and source RPM, from vendored crates, without network
#   make deb      target/package/deb: Debian package
#   make docs-test    runs what the pages of docs/ show, as root
#   make package-test   builds both and tries them in fresh roots, as root: install, serve, upload, dnf, upgrade, remove; and
#                 the first ten minutes (scripts/ten-minutes.py)
#   make fuzz     builds the fuzz targets and runs each for 60 s, two at a time (SECONDS_EACH=, JOBS=, TARGETS=)
#   make bench    measures createrepod beside createrepo_c 1.2, nginx and Apache, and prints tables (see docs/benchmarks.md)
#   make bench-serve    the latter part alone

CARGO ?= cargo
# What `make bench` passes on: make bench BENCH="--sizes 10k --quick" SERVE="--quick"
BENCH ?=
SERVE ?=
# How long `make soak` goes on.
SECONDS ?= 180
# How many times the daemon is killed at least, however long that takes.
KILLS ?= 0

.PHONY: all build test soak fuzz check clients bench bench-serve man rpm deb package-test docs-test

all: build

build:
	$(CARGO) build --release --locked

# Most tests wait for something most of the time.
test: clients
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} $(CARGO) test --locked --workspace --features createrepod/crash-points

soak: clients
	SOAK_SECONDS=$(SECONDS) SOAK_KILLS=$(KILLS) $(CARGO) test --locked --workspace --features createrepod/crash-points --test integration soak::for_as_long_as_wanted -- --ignored --nocapture

fuzz:
	@CARGO="$(CARGO)" sh scripts/fuzz.sh $(TARGETS)

check:
	$(CARGO) fmt --all --check
	@$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null # its lock file is one of its own
	$(CARGO) clippy --locked --workspace --all-targets --features createrepod/crash-points -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --workspace --no-deps --document-private-items --features createrepod/crash-points
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check licenses bans sources && \
		if $(CARGO) deny --locked fetch db >/dev/null 2>&1; then $(CARGO) deny --locked check advisories; \
		else echo "check: the advisory database is out of reach: advisories were not checked"; fi; \
	else \
		echo "check: cargo-deny is not installed (cargo install --locked cargo-deny): licences and advisories were not checked"; \
	fi

clients:
	@sh scripts/clients.sh

man:
	$(CARGO) run --quiet --locked -- generate man target/man
	$(CARGO) run --quiet --locked -- generate completions target/completions

rpm:
	@CARGO="$(CARGO)" sh packaging/rpm/build.sh

deb: build
	@sh packaging/deb/build.sh

# Both packages hold the binary that was built for the RPM: one release build is enough.
package-test: rpm
	@sh packaging/deb/build.sh target/package/build/release/createrepod
	python3 scripts/package-test.py target/package/rpm/RPMS/*/createrepod-[0-9]*.rpm packaging/rpm/createrepod.spec target/package/deb/createrepod_*.deb
	python3 scripts/ten-minutes.py target/package/rpm/RPMS/*/createrepod-[0-9]*.rpm

docs-test:
	$(CARGO) build --quiet --locked
	python3 scripts/docs-test.py target/debug/createrepod

bench: clients
	$(CARGO) build --release --locked --workspace
	python3 scripts/bench.py $(BENCH)
	python3 scripts/bench-serve.py $(SERVE)

bench-serve:
	$(CARGO) build --release --locked --workspace
	python3 scripts/bench-serve.py $(SERVE)
