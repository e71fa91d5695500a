#!/bin/sh
# The two archives a package is built from: the source as it stands in git (with changes that are not committed yet),
# and every crate it needs. usage: packaging/vendor.sh DIR
set -eu
cd "$(dirname "$0")/.."
out=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
name=createrepod-$version
mkdir -p "$out"
out=$(cd "$out" && pwd)

if git rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
	tree=$(git stash create)
	git archive --prefix="$name/" --format=tar.gz --output="$out/$name.tar.gz" "${tree:-HEAD}"
else
	echo "packaging: this is no git checkout (or git is missing): the source archive is the directory as it lies here"
	tar --exclude=./target --exclude=./.git --owner=0 --group=0 --numeric-owner --transform="s#^\.#$name#" \
		-czf "$out/$name.tar.gz" .
fi

# The same lock file gives the same crates.
vendored=$out/$name-vendor.tar.gz
stamp=$out/vendored-from
if [ -e "$vendored" ] && cmp -s Cargo.lock "$stamp"; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CARGO_TERM_QUIET=true ${CARGO:-cargo} vendor --locked --versioned-dirs "$work/vendor" >/dev/null
printf '[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "vendor"\n' >"$work/vendor/config.toml"
# Crates for Windows are resolved but never compiled: their manifests are enough, and spare 100 MB.
for crate in "$work"/vendor/windows* "$work"/vendor/winapi*; do
	[ -d "$crate" ] || continue
	find "$crate" -mindepth 1 ! -name Cargo.toml ! -name .cargo-checksum.json ! -type d -delete
	mkdir -p "$crate/src" && : >"$crate/src/lib.rs"
	find "$crate" -type d -empty -delete
	sed -i 's/"files":{.*},"package"/"files":{},"package"/' "$crate/.cargo-checksum.json"
done
tar --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner -C "$work" -czf "$vendored" vendor
cp Cargo.lock "$stamp"
