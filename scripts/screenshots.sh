#!/bin/sh
# Takes pictures of the pages in headless Chromium, light and dark, narrow and wide: screenshots.sh DIR
# The same run fails when a page writes to the console, breaks its own policy or asks for anything elsewhere.
set -eu
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
CREATEREPOD_SCREENSHOTS=$(cd "$1" && pwd) CREATEREPOD_REQUIRE_CLIENTS=1 \
	cargo test --locked --test integration pages_load_nothing_from_elsewhere
ls "$1"
