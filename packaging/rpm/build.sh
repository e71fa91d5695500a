#!/bin/sh
# Builds the RPM and its source RPM into target/package/rpm. Extra arguments go to rpmbuild.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD/target/package/rpm
mkdir -p "$top"
sh packaging/vendor.sh "$top/SOURCES"

set -- --define "_topdir $top" --define "createrepod_target $PWD/target/package/build" "$@"
if ! rpm -q --quiet systemd-rpm-macros 2>/dev/null; then
	echo "make rpm: no rpm database with build requirements here: building with --nodeps; cargo $(${CARGO:-cargo} --version | cut -d' ' -f2) and gcc are used as they are"
	set -- --nodeps "$@"
fi
rm -rf "$top/RPMS" "$top/SRPMS"
rpmbuild -ba "$@" packaging/rpm/createrepod.spec >"$top/build.log" 2>&1 || {
	tail -n 40 "$top/build.log"
	echo "make rpm: failed; the whole log is $top/build.log" >&2
	exit 1
}
find "$top/RPMS" "$top/SRPMS" -name '*.rpm'
