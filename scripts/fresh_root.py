"""What the scripts that try the packages share: a root that has hardly anything, what is said of each step, one small package."""

import os
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What scriptlets and the test use in a root that has nothing else.
TOOLS = ["sh", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "true", "rm", "env", "dpkg", "ls", "chown"]
HELLO = """Name: hello
Version: 1.0
Release: 1
Summary: Hello
License: MIT
BuildArch: noarch
%description
Hello.
%files
"""


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"FAILED ({done.returncode}): {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def check(fact, what):
    if not fact:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}")


def skipped(what):
    if os.environ.get("CREATEREPOD_REQUIRE_CLIENTS") == "1":
        sys.exit(f"FAILED: {what}, and CREATEREPOD_REQUIRE_CLIENTS=1")
    print(f"SKIPPED: {what}", file=sys.stderr)


def fresh_root(place):
    """A root with a shell, the three systemd tools that scriptlets call, and nothing else."""
    for directory in ["etc", "tmp", "var", "proc", "dev", "run", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"]:
        os.makedirs(f"{place}/{directory}")
    os.chmod(place, 0o755)
    for link in ["bin", "sbin", "lib", "lib64"]:
        os.symlink(f"usr/{link}", f"{place}/{link}")
    open(f"{place}/dev/null", "w").close()
    for tool in TOOLS:
        path = shutil.which(tool)
        if path:
            copy_with_libraries(path, place)
    # Fedora's and EL's default: nothing is enabled by being installed.
    os.makedirs(f"{place}/usr/lib/systemd/system-preset")
    open(f"{place}/usr/lib/systemd/system-preset/99-default.preset", "w").write("disable *\n")
    open(f"{place}/etc/passwd", "w").write("root:x:0:0:root:/root:/bin/sh\n")
    open(f"{place}/etc/group", "w").write("root:x:0:\n")


def copy_with_libraries(path, root):
    wanted = [path] + re.findall(r"(/\S+) \(0x", run("ldd", path)) if is_dynamic(path) else [path]
    for file in wanted:
        target = root + file
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            shutil.copy2(os.path.realpath(file), target)


def add_libraries(path, root):
    """What `path` links, from here: the root has no packages that could bring it."""
    for library in re.findall(r"(/\S+) \(0x", run("ldd", path)):
        if not os.path.exists(root + library):
            copy_with_libraries(library, root)


def is_dynamic(path):
    return subprocess.run(["ldd", path], capture_output=True).returncode == 0


def install_rpm(root, rpm):
    """Installs the RPM into a fresh root; the command that further ones begin with, and what was said."""
    # The root has no packages that could provide anything. Debian's rpm wants to be told that it may install.
    command = ["rpm", "--root", root, "--nodeps"]
    if os.path.exists("/etc/debian_version"):
        command.append("--force-debian")
    run("rpm", "--root", root, "--initdb")
    said = run(*command, "-i", rpm)
    add_libraries(f"{root}/usr/bin/createrepod", root)
    return command, said


def build_hello(work):
    """hello-1.0-1.noarch.rpm in the directory `work`."""
    open(f"{work}/hello.spec", "w").write(HELLO)
    run("rpmbuild", "-bb", "--define", f"_rpmdir {work}", "--define", f"_topdir {work}/top",
        "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", f"{work}/hello.spec")  # fmt: skip
