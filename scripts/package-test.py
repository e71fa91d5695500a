#!/usr/bin/env python3
"""Tries the packages for real: judges them, installs them into fresh roots, starts the daemon from there,
uploads to it, reads it with dnf, upgrades and removes. As root. What cannot be tried is said, and is no failure
unless CREATEREPOD_REQUIRE_CLIENTS=1.

usage: scripts/package-test.py RPM SPEC DEB [RPMLINT]"""

import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from fresh_root import TOP, add_libraries, check, fresh_root, install_rpm, run, skipped


def judge_containerfile():
    """hadolint's opinion; scripts/clients.sh installs it."""
    private = os.environ.get("CREATEREPOD_CLIENTS") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "createrepod/clients"
    )
    hadolint = shutil.which("hadolint") or f"{private}/hadolint/bin/hadolint"
    if not os.path.exists(hadolint):
        return skipped("hadolint is missing: the Containerfile was not judged")
    said = run(hadolint, f"{TOP}/packaging/Containerfile")
    check(said.strip() == "", f"hadolint has nothing to say of the Containerfile {said}")


def judge_logrotate(root):
    """A written log is moved away; what cannot be tried here is the reload after it."""
    if not shutil.which("logrotate"):
        return skipped("logrotate is missing: its configuration was not tried")
    log = f"{root}/var/log/createrepod/access.log"
    open(log, "w").write("127.0.0.1 - -\n")
    with tempfile.TemporaryDirectory() as place:
        text = open(f"{root}/etc/logrotate.d/createrepod").read()
        # By the user of the root, whom this machine does not know.
        text = text.replace("/var/log", f"{root}/var/log").replace("    su createrepod createrepod\n", "    su root root\n")
        text = re.sub("systemctl reload .*", f"touch {place}/reloaded", text)
        open(f"{place}/conf", "w").write(text)
        os.chmod(f"{place}/conf", 0o644)
        run("logrotate", "--force", "--state", f"{place}/state", f"{place}/conf")
        check(os.path.exists(f"{log}.1") and not os.path.exists(log) and os.path.exists(f"{place}/reloaded"), "logrotate moves the log away, and has it opened anew")
    os.remove(f"{log}.1")


def judge_policy():
    """The policy compiles against the reference policy; scripts/clients.sh installs that."""
    makefile = "/usr/share/selinux/devel/Makefile"
    if not os.path.exists(makefile) or not shutil.which("checkmodule"):
        return skipped("the SELinux reference policy is missing: our policy was not compiled")
    with tempfile.TemporaryDirectory() as place:
        for file in glob.glob(f"{TOP}/packaging/selinux/createrepod.*"):
            shutil.copy(file, place)
        said = run("make", "-f", makefile, "createrepod.pp", cwd=place)
        check(os.path.exists(f"{place}/createrepod.pp") and "rror" not in said, "the SELinux policy compiles")


def judge_units(root):
    """systemd's own opinion of the units as they are installed."""
    units = os.path.join(root, "usr/lib/systemd/system")
    exposure = run("systemd-analyze", "security", "--offline=yes", "--no-pager", f"{units}/createrepod.service")
    exposure = float(re.search(r"exposure level.*: ([0-9.]+)", exposure).group(1))
    check(exposure <= 1.5, f"systemd-analyze security: exposure {exposure}, at most 1.5")
    with tempfile.TemporaryDirectory() as place:
        # The unit names /usr/bin/createrepod, which is in the root only.
        for name in ["createrepod.service", "createrepod.socket"]:
            text = open(f"{units}/{name}").read().replace("=/usr/bin/createrepod", f"={root}/usr/bin/createrepod")
            open(f"{place}/{name}", "w").write(text)
        said = run("systemd-analyze", "verify", "--man=no", *sorted(glob.glob(f"{place}/*")))
        check(said.strip() == "", f"systemd-analyze verify has nothing to say {said}")


def allowed_calls(unit):
    """The system calls that SystemCallFilter= of the unit lets through."""
    sets, name = {}, None
    for line in run("systemd-analyze", "syscall-filter", "--no-pager").splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = []
        elif line.strip() and not line.strip().startswith("#") and name:
            sets[name].append(line.strip())

    def spell_out(word):
        return set().union(*map(spell_out, sets[word])) if word in sets else {word}

    allowed = set()
    for line in open(unit):
        if line.startswith("SystemCallFilter="):
            words = line.split("=", 1)[1].strip()
            named = set().union(*map(spell_out, words.lstrip("~").split()))
            allowed = allowed - named if words.startswith("~") else allowed | named
    return allowed


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    """createrepod, started in the root as the unit starts it: that user, that command."""

    def __init__(self, root, tracer=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/rpm/"
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        environment = {"PATH": "/usr/bin", "CREATEREPOD_LISTEN": f"127.0.0.1:{self.port}"}
        command = ["chroot", "--userspec=createrepod:createrepod", root, "/usr/bin/createrepod", "serve"]
        if tracer:
            command = ["strace", "-f", "-qq", "-o", tracer] + command
        environment["PATH"] = os.environ["PATH"]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        for _ in range(600):
            answered = subprocess.run(["curl", "-sf", f"http://127.0.0.1:{self.port}/-/health"], capture_output=True)
            if answered.returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.process.kill()
        sys.exit(f"FAILED: the daemon from the package is not healthy\n{open(self.log.name).read()}")

    def stop(self):
        # strace passes nothing on: the daemon itself is told.
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        os.kill(int(children[0]) if children else self.process.pid, signal.SIGTERM)
        status = self.process.wait(60)
        if status != 0:
            sys.exit(f"FAILED: the daemon ended with {status}\n{open(self.log.name).read()}")


def dnf_lists(url):
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/dnf.conf", "w") as config:
            config.write("[main]\n")
        return run(
            "dnf", "--noplugins", f"--config={place}/dnf.conf", "-q", f"--repofrompath=t,{url}", "--repo=t", "--nogpgcheck", f"--installroot={place}",
            "--setopt=reposdir=/dev/null", f"--setopt=cachedir={place}/cache", "--releasever=1",
            "repoquery", "--qf", "%{name}-%{version}-%{release}.%{arch}\n",
        ).split()  # fmt: skip


def owner(path):
    status = os.stat(path)
    return status.st_uid, status.st_mode & 0o7777


def createrepod_id(root):
    for line in open(f"{root}/etc/passwd"):
        if line.startswith("createrepod:"):
            return int(line.split(":")[2])
    return None


def try_daemon(root, package):
    """Upload a package with a token, read it with dnf."""
    if shutil.which("strace"):
        trace = tempfile.NamedTemporaryFile(suffix=".strace")
    else:
        trace = None
        skipped("strace is missing: the system call filter was not tried")
    daemon = Daemon(root, trace and trace.name)
    upload = ["curl", "-sS", "-w", "%{http_code}", "-H", "Prefer: wait=30", "-T", package, daemon.url]
    check(run(*upload).endswith("401"), "nobody uploads without a token: 401")
    # As root, while the daemon runs as another user: both must be able to use what this makes.
    command = ["chroot", root, "/usr/bin/createrepod", "token", "add", "ci", "--repository", "rpm", "--scope", "write"]
    token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    answer = run(*upload, "-u", f"ci:{token}")
    check(answer.endswith("201"), f"PUT {os.path.basename(package)} with a token: 201")
    nevra = os.path.basename(package).removesuffix(".rpm")
    check(dnf_lists(daemon.url) == [nevra], f"dnf reads {nevra}")
    os.kill(daemon.process.pid, 0)
    daemon.stop()
    print("ok: SIGTERM ends it with 0")
    if trace:
        # The first calls are chroot's own.
        lines = open(trace.name).read().split("execve(\"/usr/bin/createrepod\"", 1)[1]
        used = set(re.findall(r"^\d+ +(?:<\.\.\. )?([a-z_0-9]+)[( ]", lines, re.M))
        denied = used - allowed_calls(f"{root}/usr/lib/systemd/system/createrepod.service")
        check(len(used) > 40, f"{len(used)} different system calls were seen")
        check(not denied, f"SystemCallFilter= lets all of them through {sorted(denied) or ''}")


def beside(package, pattern):
    """The one package next to another."""
    found = glob.glob(os.path.join(os.path.dirname(package), pattern))
    check(len(found) == 1, f"there is one {pattern}")
    return found[0]


def try_commands(root, install):
    """createrepo_c's commands, from a package of their own."""
    commands = ["createrepo_c", "mergerepo_c", "modifyrepo_c", "sqliterepo_c", "createrepo", "mergerepo", "modifyrepo"]
    check(not any(os.path.lexists(f"{root}/usr/bin/{name}") for name in commands), "createrepo_c's names are not taken")
    install()
    for name in commands:
        check("Version: 1." in run("chroot", root, f"/usr/bin/{name}", "--version"), f"{name} --version")
        check(glob.glob(f"{root}/usr/share/man/man8/{name}.8*"), f"{name}(8)")
    os.makedirs(f"{root}/tmp/empty")
    run("chroot", root, "/usr/bin/createrepo_c", "-q", "/tmp/empty")
    run("chroot", root, "/usr/bin/mergerepo_c", "-r", "/tmp/empty", "-o", "/tmp/merged")
    check(os.path.exists(f"{root}/tmp/merged/repodata/repomd.xml"), "createrepo_c and mergerepo_c write repomd.xml")


def try_rpm(rpm, spec, rpmlint):
    if rpmlint:
        said = subprocess.run([rpmlint, "-c", f"{TOP}/packaging/rpm/rpmlint.toml", rpm, spec], capture_output=True, text=True).stdout
        print("\n".join(line for line in said.splitlines() if ": W: " in line or ": E: " in line))
        check(" 0 errors" in said, "rpmlint finds no errors")
    else:
        skipped("rpmlint is missing: the RPM was not judged")
    with tempfile.TemporaryDirectory() as root:
        fresh_root(root)
        rpm_in, said = install_rpm(root, rpm)
        check(not re.search("scriptlet|warning|error|ailed", said), f"rpm -i complains of nothing: {said.strip()!r}")
        user = createrepod_id(root)
        check(user not in (None, 0), f"the user createrepod was made, number {user}")
        check(owner(f"{root}/var/lib/createrepod") == (user, 0o750), "/var/lib/createrepod is createrepod's alone")
        check(owner(f"{root}/var/log/createrepod") == (user, 0o750), "and so is /var/log/createrepod")
        check(owner(f"{root}/var/www/repos/rpm-repo") == (user, 0o755), "/var/www/repos/rpm-repo is createrepod's")
        binary = open(f"{root}/usr/bin/createrepod", "rb").read()
        check(b"CREATEREPOD_CRASH_AT" not in binary, "no crash points (src/crash.rs) are in the program")
        check(run(*rpm_in, "-V", "createrepod") == "", "rpm -V finds nothing changed")
        enabled = f"{root}/etc/systemd/system/multi-user.target.wants/createrepod.service"
        check(not os.path.lexists(enabled), "the presets decide, and nothing is enabled")
        run("chroot", root, "systemctl", "enable", "createrepod")
        check(os.path.lexists(enabled), "systemctl enable createrepod")
        judge_units(root)
        judge_logrotate(root)

        # What a sysadmin does first.
        config = f"{root}/etc/createrepod/repos.d/rpm.toml"
        text = open(config).read() + 'overwrite = "deny"\n'
        open(config, "w").write(text)
        run("chroot", root, "/usr/bin/createrepod", "config", "check")
        run("mount", "-t", "proc", "proc", f"{root}/proc")
        try:
            try_daemon(root, rpm)
        finally:
            run("umount", f"{root}/proc")

        try_commands(root, lambda: run(*rpm_in, "-i", beside(rpm, "createrepod-createrepo_c-[0-9]*.rpm")))
        said = subprocess.run([*rpm_in[:3], "-q", "--conflicts", "--provides", "createrepod-createrepo_c"], capture_output=True, text=True).stdout
        check("createrepo_c = 1." in said and "\ncreaterepo_c\n" in f"\n{said}", "it provides createrepo_c, and conflicts with it")
        check("createrepo = 1." in said, "it provides createrepo")
        run(*rpm_in, "-e", "createrepod-createrepo_c")
        check(not os.path.lexists(f"{root}/usr/bin/createrepo_c"), "the commands can be removed alone")
        run(*rpm_in, "-U", "--replacepkgs", rpm)
        check(open(config).read() == text, "an upgrade keeps the configuration")
        check(os.path.lexists(enabled), "and leaves the unit enabled")
        check(createrepod_id(root) == user, "and the user")
        run(*rpm_in, "-e", "createrepod")
        check(not os.path.lexists(enabled), "removal disables the unit")
        check(open(config + ".rpmsave").read() == text, "keeps the changed configuration aside")
        kept = os.listdir(f"{root}/var/www/repos/rpm-repo")
        check(os.path.basename(rpm) in kept and "repodata" in kept, "and leaves the repository as it is")
        check(not os.path.exists(f"{root}/usr/bin/createrepod"), "the program is gone")


def try_deb(deb):
    if not shutil.which("dpkg"):
        skipped("dpkg is missing: the Debian package was not tried")
        return
    if shutil.which("lintian"):
        said = subprocess.run(["lintian", "--no-cfg", "--allow-root", deb], capture_output=True, text=True).stdout
        print(said, end="")
        errors = [line for line in said.splitlines() if line.startswith("E:")]
        check(not errors, "lintian finds no errors")
    else:
        skipped("lintian is missing: the Debian package was not judged")
    with tempfile.TemporaryDirectory() as root:
        fresh_root(root)
        os.makedirs(f"{root}/var/lib/dpkg/info")
        os.makedirs(f"{root}/var/lib/dpkg/updates")
        os.makedirs(f"{root}/var/lib/dpkg/triggers")
        open(f"{root}/var/lib/dpkg/status", "w").close()
        run("mount", "-t", "proc", "proc", f"{root}/proc")
        try:
            install = ["dpkg", f"--root={root}", "--force-depends"]
            run(*install, "--install", deb)
            user = createrepod_id(root)
            check(user not in (None, 0), f"the user createrepod was made, number {user}")
            check(owner(f"{root}/var/www/repos/rpm-repo") == (user, 0o755), "/var/www/repos/rpm-repo is createrepod's")
            add_libraries(f"{root}/usr/bin/createrepod", root)
            run("chroot", root, "/usr/bin/createrepod", "config", "check")
            print("ok: createrepod from the Debian package runs and takes its configuration")
            commands = beside(deb, "createrepod-createrepo-c_*.deb")
            try_commands(root, lambda: run(*install, "--install", commands))
            control = run("dpkg", "--info", commands)
            check("Conflicts: createrepo-c" in control and "Provides: createrepo-c (= 1." in control, "it provides createrepo-c, and conflicts with it")
            run(*install, "--purge", "createrepod-createrepo-c")
            config = f"{root}/etc/createrepod/repos.d/rpm.toml"
            open(config, "a").write("# ours\n")
            run(*install, "--install", deb)
            check("# ours" in open(config).read(), "an upgrade keeps the configuration")
            run(*install, "--remove", "createrepod")
            check(os.path.exists(config) and not os.path.exists(f"{root}/usr/bin/createrepod"), "removal keeps it, too")
            run(*install, "--purge", "createrepod")
            check(not os.path.exists(config), "purge does not")
            check(os.path.isdir(f"{root}/var/www/repos/rpm-repo"), "but leaves the repository")
        finally:
            run("umount", f"{root}/proc")


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    if os.geteuid() != 0:
        skipped("packages are installed by root: nothing was tried")
        return
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["unshare", "--mount", "mount", "-t", "proc", "proc", place], capture_output=True).returncode:
            skipped("nothing can be mounted here (a container without rights): the packages were not installed")
            return
    rpm, spec, deb = sys.argv[1:4]
    rpmlint = sys.argv[4] if len(sys.argv) > 4 else shutil.which("rpmlint")
    judge_containerfile()
    judge_policy()
    try_rpm(rpm, spec, rpmlint)
    try_deb(deb)


main()
