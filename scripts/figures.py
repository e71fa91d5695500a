#!/usr/bin/env python3
"""Measures createrepod beside createrepo_c 1.2, in turn in the same run, and prints a table.

    make figures                                  10,000 packages from rpmgen, five rounds
    make figures FIGURES="--packages 1000"        fewer
    make figures FIGURES="--source DIR"           the packages below DIR instead

What is measured, on copies of one tree whose files are in the page cache:
  full index       both programs over a tree without metadata, one-shot: wall, CPU, peak memory
  one package more from the rename of one file into the tree to the new repomd.xml: the running daemon,
                   and `createrepo_c --update --skip-stat` started at once, as a script would
  memory           of the daemon: at rest (restarted on a known tree, idle), after one package more,
                   and at the peak of reading the whole tree

Standard library only. Numbers are medians; the spread is printed as well.
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    options = arguments()
    work = tempfile.mkdtemp(prefix="createrepod-figures-", dir=options.work)
    try:
        measure(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=int, default=10_000, help="how many rpmgen makes (default 10000)")
    parser.add_argument("--source", help="a directory of packages to use instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--adds", type=int, default=20, help="single packages added by the daemon in a round (default 20)")
    parser.add_argument("--createrepod", default=os.path.join(PROJECT, "target/release/createrepod"))
    parser.add_argument("--createrepo_c", default=reference())
    parser.add_argument("--work", help="where copies of the tree are made (default: the temporary directory)")
    options = parser.parse_args()
    for program in (options.createrepod, options.createrepo_c):
        if not os.access(program, os.X_OK):
            sys.exit(f"figures: {program} is missing (make build, make clients)")
    return options


def reference():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    clients = os.environ.get("CREATEREPOD_CLIENTS") or os.path.join(cache, "createrepod/clients")
    return os.path.join(clients, "createrepo_c/createrepo_c/data/bin/createrepo_c")


def measure(options, work):
    source = options.source or generate(options.packages, work)
    tree = os.path.join(work, "tree")
    copy(source, tree)
    extra = take_out(tree, os.path.join(work, "extra"), max(options.adds, 2))
    count = sum(len([name for name in names if name.endswith(".rpm")]) for _, _, names in os.walk(tree))
    read_everything(tree)
    print(f"# {count:,} packages, {options.rounds} rounds, {time.strftime('%Y-%m-%d')}")
    print(f"# {os.cpu_count()} x {processor()}, {platform.system()} {platform.release()}")
    print(f"# {version(options.createrepod)}; createrepo_c {version(options.createrepo_c)}")
    figures = {}

    def note(name, program, value):
        figures.setdefault(name, {}).setdefault(program, []).append(value)

    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        full(options, tree, note)
        theirs(options, tree, extra, note)
        ours(options, tree, extra, count, note)
    table(figures)


def full(options, tree, note):
    """Both programs over the tree without metadata, each first in turn."""
    commands = [("createrepod", [options.createrepod, "index", tree]), ("createrepo_c", [options.createrepo_c, "--quiet", tree])]
    for program, command in commands:
        forget(tree)
        wall, cpu, memory = run(command)
        note("full index: wall, s", program, wall)
        note("full index: CPU, s", program, cpu)
        note("full index: peak memory, MiB", program, memory)
        note("metadata, compressed, MiB", program, metadata_size(tree))


def theirs(options, tree, extra, note):
    """createrepo_c's metadata are there; one package comes, a script calls it again."""
    forget(tree)
    run([options.createrepo_c, "--quiet", tree])
    for package in extra[:2]:
        target = os.path.join(tree, os.path.basename(package))
        start = time.monotonic()
        os.rename(package, target)
        _, cpu, _ = run([options.createrepo_c, "--quiet", "--update", "--skip-stat", tree])
        note("one package more: wall, ms", "createrepo_c", (time.monotonic() - start) * 1000)
        note("one package more: CPU, ms", "createrepo_c", cpu * 1000)
        os.rename(target, package)
        run([options.createrepo_c, "--quiet", "--update", "--skip-stat", tree])


def ours(options, tree, extra, count, note):
    forget(tree)
    with Daemon(options.createrepod, tree) as daemon:
        daemon.wait_for_packages(count)
        note("memory: peak of reading everything, MiB", "createrepod", daemon.memory("VmHWM"))
    with Daemon(options.createrepod, tree) as daemon:
        daemon.wait_for_packages(count)
        daemon.settle()
        note("memory: at rest, MiB", "createrepod", daemon.memory("VmRSS"))
        note("memory: at rest, not file-backed, MiB", "createrepod", daemon.memory("RssAnon"))
        for package in extra[: options.adds]:
            target = os.path.join(tree, os.path.basename(package))
            for source, place, name in ((package, target, "one package more"), (target, package, "one package less")):
                cpu = daemon.cpu()
                before = daemon.repomd()
                start = time.monotonic()
                os.rename(source, place)
                while daemon.repomd() == before:
                    time.sleep(0.0002)
                    if time.monotonic() - start > 60:
                        sys.exit("figures: the daemon published nothing for 60 s")
                note(f"{name}: wall, ms", "createrepod", (time.monotonic() - start) * 1000)
                daemon.settle()
                note(f"{name}: CPU, ms", "createrepod", (daemon.cpu() - cpu) * 1000)
        note("memory: after that, MiB", "createrepod", daemon.memory("VmRSS"))
        note("memory: peak of that, MiB", "createrepod", daemon.memory("VmHWM"))


class Daemon:
    """The daemon on a tree, until the end of the `with` block."""

    def __init__(self, program, tree):
        self.tree = tree
        self.repomd_path = os.path.join(tree, "repodata/repomd.xml")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CREATEREPOD_")}
        self.process = subprocess.Popen(
            [program, "serve", tree, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )

    def __enter__(self):
        for line in self.process.stdout:
            found = re.search(r"http://[\d.]+:\d+/\S*/", line)
            if found:
                self.url = found[0]
                return self
        sys.exit(f"figures: the daemon did not start (exit {self.process.wait()})")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def wait_for_packages(self, count):
        """Until that many packages are published, and nothing is in the making."""
        for _ in range(6000):
            try:
                repomd = urllib.request.urlopen(self.url + "repodata/repomd.xml").read().decode()
                href = re.search(r'href="([^"]*primary\.xml[^"]*)"', repomd)[1]
                if packages_in(os.path.join(self.tree, href)) == count:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit(f"figures: the daemon did not publish {count} packages")

    def settle(self):
        """Until it uses no CPU for half a second."""
        before = -1.0
        while before != self.cpu():
            before = self.cpu()
            time.sleep(0.5)

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(rf"^{field}:\s+(\d+)", status.read(), re.M)[1]) / 1024

    def repomd(self):
        try:
            stat = os.stat(self.repomd_path)
            return (stat.st_ino, stat.st_mtime_ns)
        except FileNotFoundError:
            return None


def packages_in(path):
    """`packages="N"` of a primary file; zstd is not in the standard library, so the client does it."""
    reader = "zstd" if path.endswith(".zst") else "gzip"
    process = subprocess.Popen([reader, "-dcq", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    head = process.stdout.read(400).decode(errors="replace")
    process.stdout.close()
    process.wait()
    found = re.search(r'packages="(\d+)"', head)
    return int(found[1]) if found else None


def run(command):
    """Wall and CPU in seconds, peak memory in MiB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"figures: {' '.join(command)} failed: {errors.decode(errors='replace')}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def generate(count, work):
    shared = os.environ.get("CREATEREPOD_SHARED") or os.path.join(PROJECT, "../shared")
    rpmgen = os.path.join(shared, "tools/rpmgen")
    if not os.path.isdir(rpmgen):
        sys.exit(f"figures: {rpmgen} is missing; give a directory of packages with --source")
    say(f"making {count:,} packages")
    target = os.path.join(PROJECT, "target/rpmgen")
    cargo = os.environ.get("CARGO", "cargo")
    subprocess.run([cargo, "build", "--quiet", "--release", "--manifest-path", f"{rpmgen}/Cargo.toml", "--target-dir", target], check=True)
    out = os.path.join(work, "source")
    command = [f"{target}/release/gen", "--count", str(count), "--out", out, "--seed", "1", "--data", f"{rpmgen}/pkgs.jsonl.zst"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def copy(source, tree):
    """Hard links where the source is on the same file system; else copies. Only packages."""
    for directory, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != "repodata" and not name.startswith(".")]
        target = os.path.join(tree, os.path.relpath(directory, source))
        os.makedirs(target, exist_ok=True)
        for name in names:
            if name.endswith(".rpm") and not name.startswith("."):
                try:
                    os.link(os.path.join(directory, name), os.path.join(target, name))
                except OSError:
                    shutil.copy2(os.path.join(directory, name), os.path.join(target, name))


def take_out(tree, beside, count):
    """Moves some packages out of the tree, as real files of their own; returns their paths."""
    os.makedirs(beside)
    packages = sorted(os.path.join(directory, name) for directory, _, names in os.walk(tree) for name in names)
    taken = []
    for package in packages[:: max(1, len(packages) // count)][:count]:
        path = os.path.join(beside, os.path.basename(package))
        shutil.copy(package, path)
        os.remove(package)
        taken.append(path)
    return taken


def forget(tree):
    for name in ("repodata", ".repodata", ".createrepod"):
        shutil.rmtree(os.path.join(tree, name), ignore_errors=True)


def read_everything(tree):
    for directory, _, names in os.walk(tree):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def metadata_size(tree):
    """Of primary, filelists and other together, in MiB."""
    folder = os.path.join(tree, "repodata")
    with open(os.path.join(folder, "repomd.xml")) as file:
        names = re.findall(r'href="repodata/([^"]*(?:primary|filelists|other)\.xml[^"]*)"', file.read())
    return sum(os.path.getsize(os.path.join(folder, name)) for name in names) / (1 << 20)


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)[1]
    except (OSError, TypeError):
        return platform.machine()


def version(program):
    text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    found = re.search(r"\d+\.\d+\.\d+", text)
    return text if text.startswith("createrepod") else (found[0] if found else text)


def table(figures):
    print()
    print("| what | createrepod | createrepo_c | ratio |")
    print("|---|---|---|---|")
    for name, values in figures.items():
        row = [spread(values.get("createrepod")), spread(values.get("createrepo_c"))]
        both = len(values) == 2
        ratio = statistics.median(values["createrepod"]) / statistics.median(values["createrepo_c"]) if both else None
        print(f"| {name} | {row[0]} | {row[1]} | {f'{ratio:.3f}' if both else ''} |")


def spread(values):
    if not values:
        return ""
    middle, low, high = statistics.median(values), min(values), max(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def say(text):
    print(f"figures: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
