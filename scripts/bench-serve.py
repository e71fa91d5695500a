#!/usr/bin/env python3
"""Measures createrepod's front door beside nginx and Apache, in turn in the same run, and prints one table.

    make bench-serve                                    all of it; about ten minutes
    make bench-serve SERVE="--quick --only get"         a first look at one part: get, tls, put, idle, crowd
    scripts/bench-serve.py --write docs/benchmarks.md   puts the table below

Wants nginx, apache2, wrk and openssl (Debian's packages of these names). Figures are medians of the
rounds; in each round all servers have their turn, so that what else the machine does hurts all of
them. CPU is the server's own, user and system, all its processes. Nothing here fails because
something was slow; an error in an answer is one. "floor" is the least that takes uploads and syncs
them (createrepod-generator floor): what a disk's syncs cost beside servers that do without.

Python's standard library only.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

from bench.programs import environment, fail, ignore_syncs, machine, median, version  # noqa: E402

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- the door's table begins -->", "<!-- the door's table ends -->"
PARTS = ["get", "tls", "put", "idle", "crowd"]
MB = 1_000_000


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load = os.getloadavg()[0]
    work = os.path.join(options.work, f"serve-{os.getpid()}")
    os.makedirs(os.path.join(work, "run"))
    # Apart from the log, whose every line would be news of the configuration's directory.
    os.makedirs(os.path.join(work, "etc"))
    table = Table()
    try:
        make_content(work)
        for part in PARTS:
            if part in options.only:
                globals()[part](options, work, table)
    except KeyboardInterrupt:
        print("bench-serve: interrupted; what was measured so far:", file=sys.stderr)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    about = [
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {machine(options)}",
        f"createrepod {version(options.createrepod)}, nginx {said('nginx', '-v')}, Apache {said('apache2', '-v')}; rounds: {options.rounds}",
        f"load before and after: {load:.1f}, {os.getloadavg()[0]:.1f}",
    ]
    if load > 0.5:
        about.append("WARNING: other work went on beside it: times are too high, ratios unsure; CPU figures suffer least")
    with open(os.path.join(options.work, "serve-figures.json"), "w") as file:
        json.dump(table.every(), file, indent=1)
    text = "\n".join([*(f"{line}  " for line in about), "", *table.markdown()]) + "\n"
    print(text)
    if options.write:
        with open(options.write) as file:
            whole = file.read()
        before, after = whole.index(BEGIN) + len(BEGIN), whole.index(END)
        with open(options.write, "w") as file:
            file.write(f"{whole[:before]}\n{text}{whole[after:]}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two short rounds: a first look, no figures to show")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; can be given more than once")
    parser.add_argument("--write", metavar="FILE", help="put the table into this Markdown file, between its two marks")
    parser.add_argument("--createrepod", default=os.path.join(PROJECT, "target/release/createrepod"))
    parser.add_argument("--generator", default=os.path.join(PROJECT, "target/release/createrepod-generator"))
    parser.add_argument("--work", default=os.path.join(PROJECT, "target/bench"), help="where the trees are made")
    options = parser.parse_args()
    options.only = options.only or PARTS
    options.work = os.path.abspath(options.work)
    options.seconds = 1 if options.quick else 3
    if options.quick:
        options.rounds = min(2, options.rounds)
    for program in (options.createrepod, options.generator, "nginx", "apache2", "wrk", "openssl"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            sys.exit(f"bench-serve: {program} is missing (Debian: apt install nginx apache2 wrk openssl)")
    os.environ["PATH"] += ":/usr/sbin"
    return options


def said(program, option):
    done = subprocess.run([program, option], capture_output=True, text=True)
    found = re.search(r"/(\d+\.\d+\.\d+)", done.stdout + done.stderr)
    return found[1] if found else "?"


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if text else "", file=sys.stderr, flush=True)


# ── what is served ──


def make_content(work):
    """The tree that all serve: a small repository whose repomd.xml createrepod makes, and a large file."""
    tree = os.path.join(work, "tree")
    os.makedirs(os.path.join(tree, "put"))
    for number in range(20):
        with open(os.path.join(tree, f"small{number}-1-1.noarch.rpm"), "wb") as file:
            file.write(rpm(f"small{number}", os.urandom(300_000)))
    with open(os.path.join(tree, "large-1-1.noarch.rpm"), "wb") as file:
        file.write(rpm("large", os.urandom(20 * MB)))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", os.path.join(work, "etc/key.pem"), "-out", os.path.join(work, "etc/cert.pem")],
        check=True, capture_output=True,
    )


def rpm(name, payload):
    """A package of format 4 that passes every check: header and payload digests are there and right."""
    payload = payload or b"x"
    main = header(63, [
        (1000, 6, [name]), (1001, 6, ["1"]), (1002, 6, ["1"]), (1004, 9, ["A package"]), (1005, 9, ["Nothing in it"]),
        (1009, 4, [len(payload)]), (1014, 6, ["MIT"]), (1021, 6, ["linux"]), (1022, 6, ["noarch"]),
        (1124, 6, ["cpio"]), (1125, 6, ["gzip"]), (1126, 6, ["9"]),
        (5092, 8, [hashlib.sha256(payload).hexdigest()]), (5093, 4, [8]),
    ])
    signature = header(62, [(273, 6, [hashlib.sha256(main).hexdigest()]), (1000, 4, [len(main) + len(payload)])])
    lead = struct.pack(">4sBBHH66sHH16x", b"\xed\xab\xee\xdb", 3, 0, 0, 1, name.encode()[:65], 1, 5)
    return lead + signature + b"\0" * (-len(signature) % 8) + main + payload


def header(region, tags):
    index, store = b"", b""
    for tag, kind, values in tags:
        if kind == 4:
            store += b"\0" * (-len(store) % 4)
        index += struct.pack(">IIII", tag, kind, len(store), len(values))
        store += b"".join(struct.pack(">I", value) if kind == 4 else value.encode() + b"\0" for value in values)
    count = len(tags) + 1
    trailer = struct.pack(">IIiI", region, 7, -16 * count, 16)
    index = struct.pack(">IIII", region, 7, len(store), 16) + index
    store += trailer
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", count, len(store)) + index + store


# ── the servers ──


class Server:
    """One of the three, until the end of the `with` block."""

    def __init__(self, name, options, work, unsynced=False):
        self.name, self.work = name, work
        self.port, self.tls_port = free_ports(2)
        command = getattr(self, name)(options)
        self.log = open(os.path.join(work, f"{name}.log"), "wb")
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=environment(), start_new_session=True,
            preexec_fn=ignore_syncs if unsynced else None,
        )

    def createrepod(self, options):
        config = os.path.join(self.work, "etc/createrepod.toml")
        with open(config, "w") as file:
            file.write(
                f'[server]\nlisten = ["127.0.0.1:{self.port}", "https://127.0.0.1:{self.tls_port}"]\n'
                f'tls = {{ certificate = "{self.work}/etc/cert.pem", key = "{self.work}/etc/key.pem" }}\n'
                f'[limits]\nconnections = 15000\nidle = "10m"\n[state]\ndir = "{self.work}/state"\n'
                f'[repository.r]\npath = "{self.work}/tree"\nurl = "/"\nwrite = "anyone"\n'
            )
        return [options.createrepod, "serve", "--config", config]

    def nginx(self, _):
        """As Debian ships it (sendfile, tcp_nopush, a worker for each core), without an access log, as the others."""
        config = os.path.join(self.work, "nginx.conf")
        with open(config, "w") as file:
            file.write(f"""
daemon off; worker_processes auto; pid {self.work}/run/nginx.pid; error_log {self.work}/nginx.err;
worker_rlimit_nofile 20000; user {os.environ.get("USER") or "root"};
events {{ worker_connections 12000; }}
http {{
  sendfile on; tcp_nopush on; types_hash_max_size 2048; access_log off; default_type application/octet-stream;
  keepalive_requests 10000000; keepalive_timeout 600; client_max_body_size 0; client_body_temp_path {self.work}/run/body;
  proxy_temp_path {self.work}/run/p; fastcgi_temp_path {self.work}/run/f; uwsgi_temp_path {self.work}/run/u; scgi_temp_path {self.work}/run/s;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096; listen 127.0.0.1:{self.tls_port} ssl http2;
    ssl_certificate {self.work}/etc/cert.pem; ssl_certificate_key {self.work}/etc/key.pem;
    root {self.work}/tree; dav_methods PUT DELETE; create_full_put_path on;
  }}
}}
""")
        return ["nginx", "-c", config]

    def floor(self, options):
        return [options.generator, "floor", "--listen", f"127.0.0.1:{self.port}", "--tree", os.path.join(self.work, "tree")]

    def apache2(self, _):
        config = os.path.join(self.work, "apache.conf")
        with open(config, "w") as file:
            modules = ["mpm_event", "authz_core", "dav", "dav_fs", "mime"]
            loads = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in modules)
            file.write(f"""
ServerRoot {self.work}
{loads}
Listen 127.0.0.1:{self.port}
ServerName localhost
PidFile {self.work}/run/apache.pid
ErrorLog {self.work}/apache.err
DocumentRoot {self.work}/tree
DavLockDB {self.work}/run/davlock
TypesConfig /etc/mime.types
MaxKeepAliveRequests 0
KeepAliveTimeout 600
<Directory {self.work}/tree>
  Require all granted
  Dav On
</Directory>
""")
        return ["apache2", "-D", "FOREGROUND", "-f", config]

    def __enter__(self):
        end = time.monotonic() + 60
        while True:
            try:
                answer = self.get("/repodata/repomd.xml") if self.name == "createrepod" else self.get("/large-1-1.noarch.rpm", "HEAD")
                if answer.startswith(b"HTTP/1.1 200"):
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.log.name, errors="replace") as log:
                    fail(f"{self.name} did not start: {log.read()}")
            time.sleep(0.02)
        if self.name == "createrepod":
            self.rest()
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.log.close()

    def get(self, path, method="GET"):
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while chunk := client.recv(1 << 16):
                data += chunk
            return data

    def rest(self, quiet=0.3):
        """Until it has used no CPU for a while: what it does after a change is not a request's."""
        before, since = self.cpu(), time.monotonic()
        while time.monotonic() - since < quiet:
            time.sleep(0.05)
            now = self.cpu()
            if now != before:
                before, since = now, time.monotonic()

    def pids(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getpgid(int(pid)) == self.process.pid:
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def cpu(self):
        """Seconds, in nanoseconds' precision (schedstat) of every thread that still runs."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            except OSError:
                pass
        return total

    def memory(self):
        """MiB of all its processes, shared pages counted once."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as rollup:
                total += int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M)[1])
        return total / 1024


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


# ── the parts ──


def get(options, work, table):
    for _ in rounds(options, "GET"):
        for name in ("createrepod", "nginx"):
            with Server(name, options, work) as server:
                wrk(server, "/repodata/repomd.xml", 16, 0.3)
                count, seconds, cpu = wrk(server, "/repodata/repomd.xml", 16, options.seconds)
                table.note("GET repomd.xml: requests a second", name, count / seconds, ("1.1", "1.4"), more=True)
                table.note("GET repomd.xml: CPU a request, µs", name, cpu / count * 1e6, ("0.8", "0.6"))
                wrk(server, "/large-1-1.noarch.rpm", 4, 0.3)
                count, seconds, cpu = wrk(server, "/large-1-1.noarch.rpm", 4, options.seconds)
                table.note("GET 20 MB: MB a second", name, count * 20 / seconds, ("0.9", "1.2"), more=True)
                table.note("GET 20 MB: CPU a GB, s", name, cpu / count * 50, ("1.2", "0.8"))
                many, seconds, cpu = discard(server, 4, options.seconds)
                table.note("GET 20 MB, a client that costs little: MB a second", name, many / seconds / MB, ("", ""), more=True)
                table.note("GET 20 MB, a client that costs little: CPU a GB, s", name, cpu / many * 1e9, ("", ""))


def tls(options, work, table):
    for _ in rounds(options, "TLS"):
        for name in ("createrepod", "nginx"):
            with Server(name, options, work) as server:
                wrk(server, "/large-1-1.noarch.rpm", 4, 0.3, secure=True)
                count, seconds, cpu = wrk(server, "/large-1-1.noarch.rpm", 4, options.seconds, secure=True)
                table.note("GET 20 MB over TLS: MB a second", name, count * 20 / seconds, ("0.9", "1.1"), more=True)
                table.note("GET 20 MB over TLS: CPU a GB, s", name, cpu / count * 50, ("", ""))


def put(options, work, table):
    large = os.path.join(work, "large.rpm")
    payload = os.urandom(200 * MB)
    servers = [("createrepod", False), ("createrepod", True), ("floor", False), ("nginx", False), ("apache2", False)]
    for number in rounds(options, "PUT"):
        with open(large, "wb") as file:
            file.write(rpm(f"big{number}", payload))
        small = [rpm(f"p{number}x{at}", os.urandom(19_400)) for at in range(2000)]
        # Nobody begins with another one's dirty pages.
        for name, unsynced in servers:
            side = "unsynced" if unsynced else name
            with Server(name, options, work, unsynced) as server:
                empty(work, server)
                begin, cpu = time.monotonic(), server.cpu()
                if name != "floor":
                    put_file(server, "/put/big.rpm", large)
                    wall = time.monotonic() - begin
                    table.note("PUT 200 MB: wall, s", side, wall, ("1.3", "1.0"), apache=("0.85", "0.6"))
                    table.note("PUT 200 MB: CPU, s", side, server.cpu() - cpu, ("", ""))
                    empty(work, server)
                begin, cpu = time.monotonic(), server.cpu()
                put_many(server, small)
                wall = time.monotonic() - begin
                bars = ("1.0", "0.6") if unsynced else ("1.4", "1.0")
                table.note("PUT 2,000 × 20 KB, 4 connections: wall, s", side, wall, bars)
                table.note("PUT 2,000 × 20 KB, 4 connections: CPU, s", side, server.cpu() - cpu, ("", ""))
                empty(work, server)


def empty(work, server):
    """Many small files are moved away, not deleted: for minutes after, ext4 looks at every inode of the folder that
    was freed before it takes one, which would cost whoever has the next turn as much as the uploads themselves."""
    folder = os.path.join(work, "tree/put")
    if os.path.exists(f"{folder}/big.rpm"):
        os.unlink(f"{folder}/big.rpm")
    os.rename(folder, tempfile.mkdtemp(dir=work, prefix="put-before-"))
    os.mkdir(folder)
    if server.name == "createrepod":
        time.sleep(0.1)
        server.rest()
    os.sync()


def idle(options, work, table):
    for _ in rounds(options, "idle connections", most=2):
        for name in ("createrepod", "nginx"):
            with Server(name, options, work) as server:
                before = server.memory()
                clients = []
                try:
                    begin = time.monotonic()
                    for _ in range(9_900):
                        client = socket.create_connection(("127.0.0.1", server.port))
                        client.sendall(b"GET /repodata/repomd.xml HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        clients.append(client)
                    for client in clients:
                        if not client.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                            fail(f"{name} did not answer")
                    took = time.monotonic() - begin
                    time.sleep(3)
                    table.note("9,900 idle connections: memory, MiB", name, server.memory() - before, ("+100", "+30"))
                    table.note("9,900 connections made and answered: s", name, took, ("", ""))
                finally:
                    for client in clients:
                        client.close()


def crowd(options, work, table):
    """300 clients that do what dnf does: repomd.xml, what it names, then packages, over a few connections."""
    for _ in rounds(options, "a crowd"):
        for name in ("createrepod", "nginx"):
            with Server(name, options, work) as server:
                errors, lock = [0], threading.Lock()

                def client():
                    try:
                        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                            repomd = fetch(connection, "/repodata/repomd.xml")
                            primary = re.search(rb'href="(repodata/[^"]*primary\.xml[^"]*)"', repomd)[1].decode()
                            fetch(connection, f"/{primary}")
                            for number in range(20):
                                fetch(connection, f"/small{number}-1-1.noarch.rpm")
                    except (OSError, ValueError, TypeError):
                        with lock:
                            errors[0] += 1

                begin, cpu = time.monotonic(), server.cpu()
                threads = [threading.Thread(target=client) for _ in range(300)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                table.note("300 clients like dnf: errors", name, errors[0], ("<= 0", "<= 0"))
                table.note("300 clients like dnf: wall, s", name, time.monotonic() - begin, ("", ""))
                table.note("300 clients like dnf: CPU, s", name, server.cpu() - cpu, ("", ""))


def rounds(options, what, most=None):
    count = min(options.rounds, most or options.rounds)
    for number in range(count):
        progress(f"{what}: round {number + 1} of {count}")
        yield number
    progress("")


# ── the clients ──


def wrk(server, path, connections, seconds, secure=False):
    """Requests answered, seconds, and the server's CPU meanwhile."""
    scheme, port = ("https", server.tls_port) if secure else ("http", server.port)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", f"{scheme}://127.0.0.1:{port}{path}"]
    cpu = server.cpu()
    done = subprocess.run(command, capture_output=True, text=True)
    cpu = server.cpu() - cpu
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", done.stdout)
    trouble = re.search(r"(Socket errors|Non-2xx).*", done.stdout)
    if done.returncode or not found or (trouble and "timeout 0" not in trouble[0] and "Non-2xx" in trouble[0]):
        fail(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    unit = {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    return max(1, int(found[1])), float(found[2]) * unit, cpu


def discard(server, connections, seconds):
    """Bytes taken by a client that lets the kernel throw them away (MSG_TRUNC, see tcp(7))."""
    stop, total, lock = time.monotonic() + seconds, [0], threading.Lock()

    def client():
        taken = 0
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            waste = bytearray(1 << 20)
            request = b"GET /large-1-1.noarch.rpm HTTP/1.1\r\nHost: localhost\r\n\r\n"
            length = None
            while time.monotonic() < stop:
                connection.sendall(request)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(4096)
                head, _, body = head.partition(b"\r\n\r\n")
                length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
                left = length - len(body)
                while left:
                    left -= connection.recv_into(waste, min(left, 1 << 20), socket.MSG_TRUNC)
                taken += length
        with lock:
            total[0] += taken

    cpu, begin = server.cpu(), time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total[0], time.monotonic() - begin, server.cpu() - cpu


def fetch(connection, path):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    data = bytearray()
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(1 << 16)):
            raise ValueError("cut off")
        data += chunk
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(head)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    parts = [body]
    have = len(body)
    while have < length:
        if not (chunk := connection.recv(1 << 18)):
            raise ValueError("cut off")
        parts.append(chunk)
        have += len(chunk)
    return b"".join(parts)


def put_file(server, path, file):
    with socket.create_connection(("127.0.0.1", server.port)) as connection, open(file, "rb") as source:
        size = os.fstat(source.fileno()).st_size
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        connection.sendfile(source)
        taken(connection.recv(1 << 16))


def put_many(server, packages):
    """Over four connections, in as many processes, one after the other on each."""
    children = []
    for share in range(4):
        if not (pid := os.fork()):
            try:
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for at in range(share, len(packages), 4):
                        body = packages[at]
                        head = f"PUT /put/p{at}-1-1.noarch.rpm HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
                        connection.sendall(head.encode() + body)
                        answer = connection.recv(1 << 16)
                        taken(answer)
                        length = re.search(rb"(?i)content-length: (\d+)", answer)
                        body = answer.partition(b"\r\n\r\n")[2]
                        while length and len(body) < int(length[1]):
                            body += connection.recv(1 << 16)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001
                print(error, file=sys.stderr)
                os._exit(1)
        children.append(pid)
    if any(os.waitpid(pid, 0)[1] for pid in children):
        fail(f"{server.name} did not take a package")


def taken(answer):
    if not re.match(rb"HTTP/1.1 (201|204)", answer):
        raise SystemExit(f"bench-serve: not taken: {answer[:400]!r}")


# ── the table ──


class Table:
    SIDES = ["createrepod", "unsynced", "floor", "nginx", "apache2"]

    def __init__(self):
        self.rows, self.bars = {}, {}

    def note(self, what, side, value, bars, more=False, apache=None):
        self.rows.setdefault(what, {}).setdefault(side, []).append(value)
        if any(bars):
            self.bars[what, side if side == "unsynced" else ""] = (bars, more)
        if apache:
            self.bars[what, "apache2"] = (apache, False)

    def every(self):
        return {what: {side: [round(v, 4) for v in values] for side, values in sides.items()} for what, sides in self.rows.items()}

    def markdown(self):
        yield "| what | createrepod | unsynced | floor | nginx | Apache | beside nginx | must | aim | must / aim |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"
        for what, sides in self.rows.items():
            values = {side: median(sides[side]) for side in self.SIDES if side in sides}
            cells = [spell(values.get(side)) for side in self.SIDES]
            shown = [("", "createrepod", "nginx")]
            if (what, "unsynced") in self.bars:
                shown.append(("unsynced", "unsynced", "nginx"))
            if (what, "apache2") in self.bars:
                shown.append(("apache2", "createrepod", "apache2"))
            for at, (kind, ours, theirs) in enumerate(shown):
                bars, more = self.bars.get((what, kind), (("", ""), False))
                told = {"": what, "unsynced": f"{what}, unsynced", "apache2": f"{what}, beside Apache"}[kind]
                ratio, verdict = judge(sides, ours, theirs, bars, more)
                row = cells if at == 0 else [""] * len(cells)
                yield f"| {told} | {' | '.join(row)} | {ratio} | {bar(bars[0], more)} | {bar(bars[1], more)} | {verdict} |"


def judge(sides, ours, theirs, bars, more):
    if ours not in sides or theirs not in sides:
        return "", ""
    own, other = median(sides[ours]), median(sides[theirs])
    # The median of the rounds' own ratios: what disturbs a round disturbs both sides of it.
    ratio = median([a / b for a, b in zip(sides[ours], sides[theirs]) if b]) if other else None

    def holds(text):
        if text.startswith("+"):
            return own <= other + float(text)
        if text.startswith("<="):
            return own <= float(text[2:])
        return ratio is not None and (ratio >= float(text) if more else ratio <= float(text))

    verdict = " / ".join("yes" if holds(text) else "NO" for text in bars if text)
    return (f"{own - other:+.0f}" if bars[0].startswith("+") else f"{ratio:.2f}" if ratio is not None else ""), verdict


def bar(text, more):
    return text if not text or text[0] in "+<" else f"{'≥' if more else '≤'} {text}"


def spell(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


if __name__ == "__main__":
    main()
