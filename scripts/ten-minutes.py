#!/usr/bin/env python3
"""The first ten minutes of a sysadmin, as README.md tells them: the RPM is installed into a fresh root, enabled and started as
its unit says, a token is made, a package uploaded, dnf reads it. The commands are the README's own, word for word; what has
to differ, because the root has neither packages nor systemd, is said where it is done. As root.

usage: scripts/ten-minutes.py RPM"""

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from fresh_root import TOP, build_hello, check, fresh_root, install_rpm, run, skipped

# Each step of README's "Install it" is taken, in this order; a step that is new there is a failure here.
STEPS = ["dnf install ", "systemctl enable --now ", "systemctl status ", "createrepod token add ", "curl "]


def commands():
    """What the README says is done on the server, line by line, without its remarks."""
    text = open(f"{TOP}/README.md").read().split("Then, on the server")[1]
    block = re.search(r"```\n(.*?)```", text, re.S).group(1)
    lines = [re.sub(r"\s+# .*", "", line) for line in block.splitlines()]
    steps = [next((step for step in STEPS if line.startswith(step)), line) for line in lines]
    check(steps == STEPS, f"README says: {'; '.join(lines)}")
    return lines


def reading():
    """How the README has dnf look at what is there."""
    text = open(f"{TOP}/README.md").read().split("## Take packages out")[1]
    return [line for line in text.splitlines() if line.startswith("dnf ")]


class Unit:
    """createrepod.service, as far as systemd's part is played here."""

    def __init__(self, root):
        self.root = root
        self.keys = {}
        for line in open(f"{root}/usr/lib/systemd/system/createrepod.service"):
            key, equals, value = line.strip().partition("=")
            if equals and not line.startswith("#"):
                self.keys.setdefault(key, value)
        keys = self.keys
        for key, above in [("StateDirectory", "var/lib"), ("RuntimeDirectory", "run"), ("LogsDirectory", "var/log")]:
            place = f"{self.root}/{above}/{keys[key]}"
            os.makedirs(place, exist_ok=True)
            os.chmod(place, int(keys[f"{key}Mode"], 8))
            run("chroot", self.root, "/usr/bin/chown", f"{keys['User']}:{keys['Group']}", place.removeprefix(self.root))
        self.said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.said.bind(f"{self.root}/run/notify")
        os.chmod(f"{self.root}/run/notify", 0o666)
        self.said.settimeout(60)
        environment = {"PATH": "/usr/bin", "NOTIFY_SOCKET": "/run/notify", "LANG": "C.UTF-8"}
        command = [shutil.which("chroot"), f"--userspec={keys['User']}:{keys['Group']}", self.root, *keys["ExecStart"].split()]
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        self.until("READY=1")

    def until(self, wanted):
        while True:
            try:
                told = self.said.recv(4096).decode()
            except TimeoutError:
                sys.exit(f"FAILED: the daemon did not say {wanted}\n{open(self.log.name).read()}")
            if wanted in told:
                return told

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(60) == 0, "systemctl stop: it ends with 0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()


def loopback_up():
    """The namespace is new: its loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def minutes(rpm, root, work):
    install, enable, status, token, upload = commands()
    begun = time.monotonic()
    # dnf would want the distribution's packages, of which the root has none.
    _, said = install_rpm(root, rpm)
    check(not re.search("scriptlet|warning|error|ailed", said), f"{install}: here rpm --root, and it complains of nothing")

    run("chroot", root, *enable.replace(" --now", "").split())
    with Unit(root) as unit:
        check(True, f"{enable}: enabled, and what its unit starts says that it is ready")
        started(unit, root, work, (status, token, upload))
    print(f"ok: the first ten minutes took {time.monotonic() - begun:.0f} s")


def started(unit, root, work, steps):
    status, token, upload = steps
    told = unit.until("STATUS=")
    check("1 repository" in told or "rpm" in told, f"{status}: {re.search('STATUS=(.*)', told).group(1)}")
    said = run("chroot", root, "/usr/bin/createrepod", "status")
    check("is running" in said and "rpm at /rpm/" in said, "createrepod status: it is running, and has rpm at /rpm/")

    making = ["chroot", root, "/usr/bin/env", "PATH=/usr/bin", *token.split()]
    secret = subprocess.run(making, capture_output=True, text=True, check=True).stdout.strip()
    check(re.fullmatch("crd_[A-Za-z0-9_-]+", secret), f"{token}: a token is printed")
    build_hello(work)
    # README's command to the letter, but for the token; -f makes a refusal a failure.
    run("sh", "-c", upload.replace("TOKEN", secret).replace("curl ", "curl -fsS -H 'Prefer: wait=60' ", 1), cwd=work)
    check(os.path.exists(f"{root}/var/www/repos/rpm-repo/hello-1.0-1.noarch.rpm"), f"{upload}: it is in the directory")

    query, installing = reading()
    read = subprocess.run(query, shell=True, capture_output=True, text=True)
    check("hello-0:1.0-1.noarch" in read.stdout, f"{query}: hello is listed {read.stderr if read.returncode else ''}")
    # Into a root of its own, so that this machine gets no package.
    run("sh", "-c", f"{installing} -y -q --releasever=1 --installroot={work}/client")
    listed = run("rpm", "--root", f"{work}/client", "-q", "hello")
    check("hello-1.0-1.noarch" in listed, f"{installing}: it is installed")
    said = run("chroot", root, "/usr/bin/createrepod", "status")
    check("1 package," in said, "createrepod status: 1 package")
    unit.stop()


def main():
    if len(sys.argv) == 2:
        if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode:
            return skipped("the first ten minutes take root and namespaces: nothing was tried")
        # A network and mounts of its own: port 8080 is free, and dnf finds nothing of this machine.
        rpm = os.path.abspath(sys.argv[1])
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, os.path.abspath(__file__), "inside", rpm])
    if len(sys.argv) != 3 or sys.argv[1] != "inside":
        sys.exit(__doc__)
    loopback_up()
    for place in ["/var/cache/dnf", "/etc/yum.repos.d"]:
        if os.path.isdir(place):
            run("mount", "-t", "tmpfs", "tmpfs", place)
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        fresh_root(root)
        run("mount", "-t", "proc", "proc", f"{root}/proc")
        try:
            minutes(sys.argv[2], root, work)
        finally:
            run("umount", "--lazy", f"{root}/proc")


main()
