"""The programs that are measured, and how they are watched."""

import ctypes
import json
import os
import platform
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import time
import urllib.request

LIBC = ctypes.CDLL(None, use_errno=True)


def fail(text):
    sys.exit(f"bench: {text}")


class Used:
    """What a program took: seconds of wall clock and of CPU, and its peak memory in MiB."""

    def __init__(self, wall, usage):
        self.wall = wall
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024


def run(command, unsynced=False, until=None):
    """Runs to the end. With `until`, a Switch, `wall` ends when the metadata was switched."""
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(), preexec_fn=ignore_syncs if unsynced else None
    )
    if until:
        until.wait(start, lambda: ended_badly(process.pid))
        wall = time.monotonic() - start
    errors = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    if not until:
        wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        fail(f"{' '.join(command)} failed: {errors.decode(errors='replace')}")
    return Used(wall, usage)


def ended_badly(pid):
    """Without reaping it: what it used is asked for later."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended is not None and ended.si_status != 0


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("CREATEREPOD_")}


def ignore_syncs():
    """Between fork and exec: fsync, fdatasync and syncfs do nothing and succeed (seccomp(2))."""
    numbers = {"x86_64": (74, 75, 306), "aarch64": (82, 83, 267)}[platform.machine()]
    # Load the system call's number; equal to one of them: "no error" without the call.
    program = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for at, number in enumerate(numbers):
        program.append(struct.pack("HBBI", 0x15, len(numbers) - at, 0, number))
    program.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    program.append(struct.pack("HBBI", 0x06, 0, 0, 0x00050000))
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    if LIBC.prctl(38, 1, 0, 0, 0) or LIBC.prctl(22, 2, header, 0, 0):
        os._exit(70)


class Switch:
    """Tells through inotify when a new repomd.xml stands in its place, at no cost while waiting.

    createrepod renames the file, createrepo_c the whole directory.
    """

    def __init__(self, tree, whole_directory):
        self.path = os.path.join(tree, "repodata/repomd.xml")
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        place = tree if whole_directory else os.path.join(tree, "repodata")
        self.name = b"repodata" if whole_directory else b"repomd.xml"
        if self.fd < 0 or LIBC.inotify_add_watch(self.fd, os.fsencode(place), 0x80) < 0:
            fail(f"cannot watch {place}: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def wait(self, start, broken=lambda: False, limit=120):
        while not self.seen():
            select.select([self.fd], [], [], 0.5)
            if broken() or time.monotonic() - start > limit:
                fail(f"no new {self.path}")

    def seen(self):
        try:
            events = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return False
        at, found = 0, False
        while at < len(events):
            _, _, _, length = struct.unpack_from("iIII", events, at)
            found |= events[at + 16 : at + 16 + length].rstrip(b"\0") == self.name
            at += 16 + length
        return found


class Daemon:
    """The daemon on a tree, until the end of the `with` block."""

    def __init__(self, program, tree, metadata="zstd", unsynced=False):
        self.tree = tree
        self.config = os.path.join(os.path.dirname(tree), "bench.toml")
        self.state = os.path.join(os.path.dirname(tree), "state")
        with open(self.config, "w") as file:
            file.write(
                f'[server]\nlisten = ["127.0.0.1:0"]\n[state]\ndir = "{self.state}"\n'
                f'[repository.bench]\npath = "{tree}"\nurl = "/bench/"\nwrite = "anyone"\nmetadata = "{metadata}"\n'
            )
        self.log = f"{self.config}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program, "serve", "--config", self.config],
                stdout=subprocess.DEVNULL, stderr=log, env=environment(), preexec_fn=ignore_syncs if unsynced else None,
            )

    def __enter__(self):
        while True:
            with open(self.log) as log:
                text = log.read()
            found = re.search(r"listening on http://(\S+?)/", text)
            if found:
                self.host = found[1]
                return self
            if self.process.poll() is not None:
                fail(f"the daemon did not start: {text}")
            time.sleep(0.001)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def status(self):
        with urllib.request.urlopen(f"http://{self.host}/-/status") as answer:
            return json.load(answer)["repositories"][0]

    def wait_for(self, packages):
        """Until that many packages are published."""
        end = time.monotonic() + 1200
        while True:
            status = self.status()
            if status["packages"] == packages:
                return
            if status["trouble"] or time.monotonic() > end:
                fail(f"{packages} packages expected: {status}")
            time.sleep(0.01)

    def settle(self, quiet=0.5):
        """Until it has used no CPU for a while; returns when it began to rest.

        Changes less than 0.3 s apart are a burst to the daemon, and gather.
        """
        before, since = self.cpu(), time.monotonic()
        while time.monotonic() - since < quiet:
            time.sleep(0.02)
            now = self.cpu()
            if now != before:
                before, since = now, time.monotonic()
        return since

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field):
        """In MiB; VmRSS, VmHWM or RssAnon."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(rf"^{field}:\s+(\d+)", status.read(), re.M)[1]) / 1024


def uploads(generator, daemon, *options):
    """Milliseconds for each package, in order, and the seconds for all."""
    command = [generator, "uploads", "--host", daemon.host, "--path", "/bench/", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{' '.join(command)} failed: {done.stderr}")
    *times, last = done.stdout.splitlines()
    return sorted(int(line) / 1000 for line in times), float(last.split()[1])


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def machine(options):
    """What a reader must know of where the figures come from."""
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        text = file.read()
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.M)
    sha = bool(flags and re.search(r"\b(sha_ni|sha2)\b", flags[1]))
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"MemTotal:\s+(\d+)", file.read())[1]) / (1 << 20)
    kind = subprocess.run(["stat", "-f", "-c", "%T", options.work], capture_output=True, text=True).stdout.strip()
    return (
        f"{os.cpu_count()} cores of {found[1] if found else model} ({'with' if sha else 'without'} SHA instructions), "
        f"{memory:.0f} GiB, {kind}, {platform.system()} {platform.release()}"
    )


def version(program):
    text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found[0] if found else text


def median(values):
    return statistics.median(values) if values else None
