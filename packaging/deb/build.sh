#!/bin/sh
# Builds the Debian package from a binary that is there: packaging/deb/build.sh [BINARY], the release build unless named.
# dpkg-deb alone does it: there is nothing in here that debhelper would make simpler.
set -eu
cd "$(dirname "$0")/../.."
binary=${1:-target/release/createrepod}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)-1
arch=$(dpkg --print-architecture)
root=target/package/deb/root
package=target/package/deb/createrepod_${version}_$arch.deb
rm -rf target/package/deb
mkdir -p "$root/DEBIAN"

put() { install -D -p -m "$1" "$2" "$root/$3"; }
put 755 "$binary" usr/bin/createrepod
strip --strip-unneeded "$root/usr/bin/createrepod"
put 644 systemd/createrepod.service usr/lib/systemd/system/createrepod.service
put 644 systemd/createrepod.socket usr/lib/systemd/system/createrepod.socket
put 644 packaging/createrepod.sysusers usr/lib/sysusers.d/createrepod.conf
put 644 packaging/createrepod.tmpfiles usr/lib/tmpfiles.d/createrepod.conf
put 644 packaging/createrepod.firewalld.xml usr/lib/firewalld/services/createrepod.xml
put 644 packaging/createrepod.logrotate etc/logrotate.d/createrepod
put 644 etc/createrepod.toml etc/createrepod/createrepod.toml
put 644 etc/repos.d/rpm.toml etc/createrepod/repos.d/rpm.toml
"$binary" generate man "$root/man"
mkdir -p target/package/deb/commands
mv "$root"/man/*.8 target/package/deb/commands/
for page in "$root"/man/*; do put 644 "$page" "usr/share/man/man${page##*.}/${page##*/}"; done
find "$root/usr/share/man" -type f -exec gzip -9n {} +
"$binary" generate completions "$root/completions"
put 644 "$root/completions/createrepod" usr/share/bash-completion/completions/createrepod
put 644 "$root/completions/_createrepod" usr/share/zsh/vendor-completions/_createrepod
put 644 "$root/completions/createrepod.fish" usr/share/fish/vendor_completions.d/createrepod.fish
rm -r "$root/man" "$root/completions"
for page in README.md docs/*.md; do put 644 "$page" "usr/share/doc/createrepod/${page##*/}"; done
for file in docs/monitoring/* packaging/selinux/*; do
	put 644 "$file" "usr/share/doc/createrepod/$(basename "$(dirname "$file")")/${file##*/}"
done
doc=$root/usr/share/doc/createrepod
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
printf 'createrepod (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  Fri, 20 Nov 2026 12:00:00 +0000\n' \
	"$version" 'The createrepod authors <createrepod@localhost>' | gzip -9nc >"$doc/changelog.Debian.gz"
{
	printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: createrepod\n\n'
	printf 'Files: *\nCopyright: 2026 the createrepod authors\nLicense: Apache-2.0 or Expat\n\nLicense: Apache-2.0\n'
	printf ' See /usr/share/common-licenses/Apache-2.0.\n\nLicense: Expat\n'
	sed -e 's/^$/./' -e 's/^/ /' LICENSE-MIT
} >"$doc/copyright"
install -d "$root/usr/share/lintian/overrides"
cat >"$root/usr/share/lintian/overrides/createrepod" <<END
# The project has no address yet.
createrepod: bogus-mail-host *
createrepod: bogus-mail-host-in-debian-changelog *
END
chmod 644 "$root/usr/share/lintian/overrides/createrepod"
find "$root" -type d -exec chmod 755 {} +
find "$doc" -type f -exec chmod 644 {} +

# The newest symbol version that is used says which libc it takes.
libc=$(objdump -T "$binary" | sed -n 's/.*GLIBC_\([0-9.]*\)).*/\1/p' | sort -uV | tail -1)
cat >"$root/DEBIAN/control" <<END
Package: createrepod
Version: $version
Architecture: $arch
Maintainer: The createrepod authors <createrepod@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= $libc), libgcc-s1, systemd
Recommends: logrotate
Section: admin
Priority: optional
Description: live yum/dnf repositories out of directories of RPMs
 createrepod watches directories of RPMs and keeps their yum/dnf metadata true,
 natively and incrementally: a package that is copied in, or uploaded with
 curl -T, can be installed a moment later. It serves the repositories over HTTP
 itself; createrepo_c, inotify scripts and a web server are not needed.
END
(cd "$root" && find etc -type f | sed 's#^#/#' | sort) >"$root/DEBIAN/conffiles"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
for script in postinst prerm postrm; do install -m 755 "packaging/deb/$script" "$root/DEBIAN/$script"; done
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"

# The commands under createrepo_c's names, for scripts and build systems that call them.
commands=target/package/deb/commands-root
package=target/package/deb/createrepod-createrepo-c_${version}_$arch.deb
mkdir -p "$commands/DEBIAN" "$commands/usr/bin" "$commands/usr/share/doc"
for page in target/package/deb/commands/*.8; do
	name=${page##*/}
	ln -s createrepod "$commands/usr/bin/${name%.8}"
	install -D -p -m 644 "$page" "$commands/usr/share/man/man8/$name"
done
find "$commands/usr/share/man" -type f -exec gzip -9n {} +
ln -s createrepod "$commands/usr/share/doc/createrepod-createrepo-c"
find "$commands" -type d -exec chmod 755 {} +
like=$(sed -n 's/^pub const LIKE: &str = "\(.*\)";/\1/p' src/compat.rs)
cat >"$commands/DEBIAN/control" <<END
Package: createrepod-createrepo-c
Source: createrepod
Version: $version
Architecture: $arch
Maintainer: The createrepod authors <createrepod@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$commands" | cut -f1)
Depends: createrepod (= $version)
Provides: createrepo-c (= $like), createrepo (= $like)
Conflicts: createrepo-c, createrepo
Replaces: createrepo-c, createrepo
Section: admin
Priority: optional
Description: createrepo_c's commands, as createrepod answers to them
 createrepo_c, mergerepo_c, modifyrepo_c and sqliterepo_c with the options, exit
 codes and files of createrepo_c $like, for scripts and build systems that call
 them, also by their older names createrepo, mergerepo and modifyrepo. Each is a
 link to createrepod.
END
(cd "$commands" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$commands/DEBIAN/md5sums"
dpkg-deb --root-owner-group -Zxz --build "$commands" "$package" >/dev/null
echo "$package"
