#!/usr/bin/env python3
"""Runs what the pages of docs/ show, as written: every ```sh block, in order, as root, in a mount namespace of its own
for each group of pages, where /etc/createrepod, /var/lib/createrepod, /srv, /var/www and the clients' configuration are empty
or the packaged ones. And looks whether every line of the log that the docs explain stands in the source.

usage: scripts/docs-test.py CREATEREPOD (the program)"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from fresh_root import TOP, build_hello

# Pages that are read together, the programs they take, what they find besides, and what must be printed.
GROUPS = [
    (["docs/operations.md", "docs/clients.md"], [], "", ["hello-0:1.0-1.noarch", "| hello "]),
    (["docs/moving.md"], ["htpasswd"], """
for d in /var/www/repos/old-rpms /srv/repos/by-script /srv/repos/yum-hosted /var/www/repos/by-dav; do
    mkdir -p $d; cp -p "$work/hello-1.0-1.noarch.rpm" $d; done
htpasswd -bcB /etc/apache2/htpasswd anna secret; htpasswd -bm /etc/apache2/htpasswd ci secret2
htpasswd -bs /etc/apache2/htpasswd nobody secret3
echo 'REPO=/var/www/repos/old-rpms' >/etc/inotify-createrepo.conf; trap 'rm /etc/inotify-createrepo.conf; systemctl stop createrepod' EXIT
""", []),
    (["docs/fronts.md"], ["nginx", "haproxy"], """
for d in nginx apache2 haproxy; do cp -a "$work/$d/." "/etc/$d/"; done; mkdir -p /etc/apache2/sites-available /etc/nginx/conf.d
""", []),
    (["docs/two-hosts.md"], ["rsync"], "", []),
    (["docs/webdav.md"], ["rclone", "cadaver"], """
printf '[repository.rpm]\\npath = "/var/www/repos/rpm-repo"\\nwrite = "anyone"\\n' >/etc/createrepod/repos.d/rpm.toml; systemctl restart createrepod
""", ["el9/renamed.rpm"]),
]  # fmt: skip

# Empty while the docs are tried, so that nothing of this machine is read or changed.
PLACES = ["/srv", "/var/www", "/etc/createrepod", "/var/lib/createrepod", "/etc/yum.repos.d", "/etc/zypp/repos.d",
          "/var/cache/dnf", "/var/cache/zypp", "/backup", "/etc/nginx", "/etc/apache2", "/etc/haproxy", "/run/createrepod"]  # fmt: skip

# What the blocks find: the packaged state, a daemon, systemctl's stand-in, one package.
WORLD = r"""
set -eu
top=$1 work=$2
for d in nginx apache2 haproxy; do rm -rf "$work/$d"; cp -a "/etc/$d" "$work/"; done
for d in $3; do mount -t tmpfs tmpfs "$d"; done
cp /etc/hosts "$work/hosts"; echo "127.0.0.1 repo.example.com" >>"$work/hosts"; mount --bind "$work/hosts" /etc/hosts
cp /etc/passwd "$work/passwd"; cp /etc/group "$work/group"
echo "createrepod:x:990:990::/var/lib/createrepod:/bin/sh" >>"$work/passwd"; echo "createrepod:x:990:" >>"$work/group"
mount --bind "$work/passwd" /etc/passwd; mount --bind "$work/group" /etc/group
install -D -m 644 "$top/etc/createrepod.toml" /etc/createrepod/createrepod.toml
install -D -m 644 "$top/etc/repos.d/rpm.toml" /etc/createrepod/repos.d/rpm.toml
install -d -o createrepod -g createrepod /var/www/repos/rpm-repo /var/lib/createrepod /run/createrepod
touch -d '1 hour ago' "$work/hello-1.0-1.noarch.rpm"
cp -p "$work/hello-1.0-1.noarch.rpm" /var/www/repos/rpm-repo/
systemctl start createrepod
trap 'systemctl stop createrepod' EXIT
cd "$work"
"""
SYSTEMCTL = r"""#!/bin/sh
# start, stop, restart and kill, as systemd would do them.
set -eu
pidfile=@WORK@/pid
case $1 in
start)
    setpriv --reuid=createrepod --regid=createrepod --clear-groups \
        env CREATEREPOD_LISTEN=127.0.0.1:8080 createrepod serve >>@WORK@/log 2>&1 & echo $! >$pidfile
    for i in $(seq 100); do curl -fs http://127.0.0.1:8080/-/ready && exit 0; sleep 0.1; done >/dev/null
    cat @WORK@/log >&2; exit 1 ;;
stop) pid=$(cat $pidfile); kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done ;;
restart) "$0" stop; "$0" start ;;
kill) kill -s "$3" "$(cat $pidfile)" ;;
esac
"""

def explained():
    """Every fragment of the table's first column is a part of a message in the source; a row may name several messages."""
    source = ""
    for directory, _, files in os.walk(f"{TOP}/src"):
        for name in files:
            source += open(f"{directory}/{name}").read()
    # A backslash at the end of a line joins it with the next one.
    source = re.sub(r"\\\n\s*", "", source)
    page = open(f"{TOP}/docs/operations.md").read().split("## What the log says")[1]
    rows = re.findall(r"^\| `(.+?)` \|", page, re.M)
    if len(rows) < 15:
        sys.exit("FAILED: the table of messages was not found")
    for row in rows:
        for part in filter(None, map(str.strip, re.split("…|`, `", row))):
            if part not in source:
                sys.exit(f"FAILED: docs/operations.md explains a message that no longer exists: {part!r}")
    print(f"ok: {len(rows)} messages that are explained stand in the source")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    explained()
    rules()
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        print("SKIPPED: what docs show was not run: that takes root and a mount namespace", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        os.makedirs(f"{work}/bin")
        os.symlink(os.path.abspath(sys.argv[1]), f"{work}/bin/createrepod")
        open(f"{work}/bin/systemctl", "w").write(SYSTEMCTL.replace("@WORK@", work))
        os.chmod(f"{work}/bin/systemctl", 0o755)
        build_hello(work)
        environment = {**os.environ, "PATH": f"{work}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        missing = [place for place in PLACES if not os.path.isdir(place)]
        for place in missing:
            os.makedirs(place)
        try:
            for group in GROUPS:
                run(group, work, environment)
        finally:
            for place in missing:
                os.rmdir(place)


def rules():
    """The alert rules are good, and name metrics that exist."""
    source = open(f"{TOP}/src/serve/metrics.rs").read() + open(f"{TOP}/src/repository/figures.rs").read()
    for page in ["docs/monitoring/alerts.yml", "docs/monitoring/dashboard.json"]:
        for metric in set(re.findall(r"createrepod_\w+", open(f"{TOP}/{page}").read())):
            if re.sub("_bucket$", "", metric) not in source:
                sys.exit(f"FAILED: {page} asks for a metric that does not exist: {metric}")
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "rules", f"{TOP}/docs/monitoring/alerts.yml"], check=True, capture_output=True)
    else:
        print("SKIPPED: promtool is missing, so the alert rules were not checked", file=sys.stderr)
    print("ok: alert rules and dashboard")


def run(group, work, environment):
    pages, programs, found, printed = group
    absent = [program for program in programs if not shutil.which(program)]
    if absent:
        if os.environ.get("CREATEREPOD_REQUIRE_CLIENTS") == "1":
            sys.exit(f"FAILED: {', '.join(absent)} missing, which {', '.join(pages)} shows")
        print(f"SKIPPED: {', '.join(pages)}: {', '.join(absent)} missing", file=sys.stderr)
        return
    script = WORLD + found
    count = 0
    for page in pages:
        text = open(f"{TOP}/{page}").read()
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
            # Each command is shown before it runs, so that a failure shows which one it was.
            script += f"echo '--- {page}' >&2\nset -x\n{block}{{ set +x; }} 2>/dev/null\n"
            count += 1
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "docs", TOP, work, " ".join(PLACES)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"FAILED: what docs show does not work\n{done.stdout}\n{done.stderr}")
    for wanted in printed:
        if wanted not in done.stdout:
            sys.exit(f"FAILED: no client listed {wanted!r}\n{done.stdout}\n{done.stderr}")
    print(f"ok: {count} blocks of {', '.join(pages)} run as written")


main()
