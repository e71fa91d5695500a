# The commands people and CI run; they are the same.
#
#   make test     installs the clients the tests need (Debian and Fedora, as root or with sudo), runs every test
#   make check    formatting, lints, licences and advisories
#   make clients  only the first half of `make test`
#   make figures  measures 10,000 packages beside createrepo_c

CARGO ?= cargo
# What `make figures` passes on: make figures FIGURES="--packages 1000 --rounds 3"
FIGURES ?=

.PHONY: all build test check clients figures

all: build

build:
	$(CARGO) build --release --locked

test: clients
	$(CARGO) test --locked

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check"; $(CARGO) deny --locked check; \
	else \
		echo "check: cargo-deny is not installed (cargo install --locked cargo-deny): licences and advisories were not checked"; \
	fi

clients:
	@sh scripts/clients.sh

figures:
	$(CARGO) build --release --locked
	python3 scripts/figures.py $(FIGURES)
