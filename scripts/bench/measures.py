"""What is measured, each part by its name (`--only`)."""

import os
import shutil
import subprocess
import time

from .programs import Daemon, Switch, fail, percentile, run, uploads
from .sets import forget, metadata, space

CODECS = (("zstd", "zstd"), ("gzip", "gz"))


class Measures:
    def __init__(self, options, report, trees, size, say):
        self.options, self.report, self.trees, self.size, self.say = options, report, trees, size, say

    def note(self, what, side, value, unit):
        self.report.note(what, self.size, side, value, unit)

    def index(self, codec="zstd", verify="digest", unsynced=False):
        forget(self.trees.ours)
        command = [self.options.createrepod, "index", self.trees.ours, "--metadata", codec, "--verify", verify]
        return run(command, unsynced)

    def createrepo_c(self, codec, *more, until=None, database=False):
        compress = ["--compress-type", codec, "--general-compress-type", codec, "--database" if database else "--no-database"]
        return run([self.options.createrepo_c, "--quiet", *compress, *more, self.trees.theirs], until=until)

    def full(self):
        """Both programs over a tree without metadata, one-shot; and what they have made of it."""
        for number in range(self.options.rounds):
            self.say(f"full index, round {number + 1}")
            for codec, short in CODECS:
                self.used(f"full index, {codec}", "ours", self.index(codec))
                self.made(codec, self.trees.ours, "ours")
                if codec == "zstd":
                    self.used(f"full index, {codec}", "unsynced", self.index(codec, unsynced=True))
                    self.used("full index, zstd, headers only", "ours", self.index(codec, "header"))
                forget(self.trees.theirs)
                theirs = self.createrepo_c(short)
                self.used(f"full index, {codec}", "theirs", theirs)
                if codec == "zstd":
                    # It checks nothing, so the same figure stands beside both.
                    self.used("full index, zstd, headers only", "theirs", theirs)
                self.made(codec, self.trees.theirs, "theirs")

    def used(self, what, side, used):
        self.note(f"{what}: wall", side, used.wall, "s")
        self.note(f"{what}: CPU", side, used.cpu, "s")
        self.note(f"{what}: peak memory", side, used.peak, "MiB")

    def made(self, codec, tree, side):
        """Sizes, and what clients pay to read them."""
        files = metadata(tree)
        for kind, path in files.items():
            self.note(f"{kind}.xml, {codec}", side, os.path.getsize(path) / (1 << 20), "MiB")
        self.note(f"all three, {codec}", side, sum(map(os.path.getsize, files.values())) / (1 << 20), "MiB")
        decode = ["zstd" if codec == "zstd" else "gzip", "-dcq", *files.values()]
        self.note(f"decode {codec}", side, min(run(decode).cpu for _ in range(3)) * 1000, "ms of CPU")
        if codec == "zstd" and shutil.which("dnf"):
            cache = os.path.join(self.trees.work, "dnf")
            shutil.rmtree(cache, ignore_errors=True)
            command = ["dnf", "-q", "--disableplugin=*", f"--setopt=cachedir={cache}", f"--setopt=persistdir={cache}", f"--setopt=logdir={cache}"]
            command += ["--setopt=reposdir=/dev/null", f"--repofrompath=bench,file://{tree}", "--repo=bench", "--setopt=bench.gpgcheck=0", "--releasever=9", "makecache"]
            self.note("dnf makecache, zstd", side, run(command).wall, "s")

    def sqlite(self):
        """The same with the databases of EL6 and EL7: a full index, and one package more."""
        for number in range(self.options.rounds):
            self.say(f"sqlite, full index, round {number + 1}")
            self.used("full index, sqlite", "ours", self.index("el7"))
            if number < self.options.their_rounds:
                forget(self.trees.theirs)
                self.used("full index, sqlite", "theirs", self.createrepo_c("gz", database=True))
        for number in range(self.options.rounds):
            with Daemon(self.options.createrepod, self.trees.ours, "el7") as daemon:
                self.say(f"sqlite, one added, round {number + 1}")
                daemon.wait_for(self.size)
                daemon.settle()
                what, act, undo, count = next(self.actions(self.trees.ours, number))
                self.note(f"{what}, sqlite", "ours", self.publish(daemon, act, self.size + count) * 1000, "ms")
                undo()
                daemon.wait_for(self.size)
                daemon.settle()
            if number < self.options.their_rounds:
                self.say(f"sqlite, one added, round {number + 1}, createrepo_c")
                what, act, undo, _ = next(self.actions(self.trees.theirs, number))
                os.sync()
                with Switch(self.trees.theirs, True) as switch:
                    act()
                    used = self.createrepo_c("gz", "--update", "--skip-stat", until=switch, database=True)
                self.note(f"{what}, sqlite", "theirs", used.wall * 1000, "ms")
                undo()
                self.createrepo_c("gz", "--update", database=True)

    def changes(self):
        """One package more, one less: from the rename to the new repomd.xml, the daemon and a script in turn."""
        forget(self.trees.ours)
        forget(self.trees.theirs)
        self.createrepo_c("zstd")
        for number in range(self.options.rounds):
            for side in ("ours", "unsynced"):
                self.say(f"changes, round {number + 1}, {side}")
                with Daemon(self.options.createrepod, self.trees.ours, unsynced=side == "unsynced") as daemon:
                    daemon.wait_for(self.size)
                    daemon.settle()
                    for what, act, undo, count in self.actions(self.trees.ours, number):
                        before = daemon.cpu()
                        wall = self.publish(daemon, act, self.size + count)
                        daemon.settle()
                        self.note(what, side, wall * 1000, "ms")
                        if "fresh" in what and side == "ours":
                            self.note(f"{what}: CPU, what follows in idle time included", side, (daemon.cpu() - before) * 1000, "ms")
                        undo()
                        daemon.wait_for(self.size)
                        daemon.settle()
                    if side == "ours":
                        self.note("after these changes: memory", side, daemon.memory("VmRSS"), "MiB")
                        self.note("after these changes: peak memory", side, daemon.memory("VmHWM"), "MiB")
            if number >= self.options.their_rounds:
                continue
            for what, act, undo, _ in self.actions(self.trees.theirs, number):
                self.say(f"changes, round {number + 1}, createrepo_c: {what}")
                os.sync()
                with Switch(self.trees.theirs, True) as switch:
                    act()
                    # With --skip-stat it would not see that a file was replaced.
                    more = ["--update"] if "replaced" in what else ["--update", "--skip-stat"]
                    used = self.createrepo_c("zstd", *more, until=switch)
                self.note(what, "theirs", used.wall * 1000, "ms")
                if "fresh" in what:
                    self.note(f"{what}: CPU, what follows in idle time included", "theirs", used.cpu * 1000, "ms")
                undo()
            self.createrepo_c("zstd", "--update")

    def publish(self, daemon, act, packages):
        with Switch(self.trees.ours, False) as switch:
            start = time.monotonic()
            act()
            switch.wait(start)
            wall = time.monotonic() - start
            # The status follows a moment later; of several publications the last one counts.
            while daemon.status()["packages"] != packages:
                if switch.seen():
                    wall = time.monotonic() - start
                elif time.monotonic() - start > 60:
                    fail(f"{packages} packages expected: {daemon.status()}")
                time.sleep(0.002)
            return time.monotonic() - start if switch.seen() else wall

    def actions(self, tree, number):
        """What to do, what to call it, how to take it back, and how many packages more there are."""
        beside = os.path.dirname(tree)
        held = os.path.join(beside, "held", "one.rpm")

        def moves(names, age):
            pairs = [(os.path.join(beside, "extra", name), os.path.join(tree, "Packages", name)) for name in names]

            def act():
                for source, target in pairs:
                    os.rename(source, target)

            def undo():
                for source, target in pairs:
                    os.rename(target, source)

            when = time.time() - age
            for source, _ in pairs:
                os.utime(source, (when, when))
            return act, undo

        first = number * 3 % 100
        for at, (words, age) in enumerate((("fresh time", 0), ("ten minutes old", 600), ("a year old", 365 * 86_400))):
            yield (f"one added, {words}", *moves([self.trees.extra[first + at]], age), 1)
        middle = os.path.join(tree, self.trees.middle(number))
        yield "one removed in the middle", lambda: os.rename(middle, held), lambda: os.rename(held, middle), -1
        replaced = os.path.join(tree, self.trees.middle(number + 20))
        fresh = os.path.join(beside, "held", "other.rpm")
        shutil.copy(os.path.join(beside, "extra", self.trees.extra[-1 - number]), fresh)
        os.link(replaced, held)
        yield "one replaced in the middle", lambda: os.rename(fresh, replaced), lambda: os.rename(held, replaced), 0
        yield ("100 at once", *moves(self.trees.extra[100:200], 0), 100)

    def uploads(self):
        """From the last byte of a PUT to the new repomd.xml, as clients see it."""
        seconds = 10 if self.options.quick else 60
        count = 30 if self.options.quick else 150
        forget(self.trees.ours)
        generator = self.options.generator
        with Daemon(self.options.createrepod, self.trees.ours) as daemon:
            daemon.wait_for(self.size)
            daemon.settle()
            # Half a second: the daemon has prepared the next publication before the next package comes.
            for seed, (how, option) in enumerate((("", "--wait"), (", by polling", "--poll"))):
                self.say(f"uploads alone{how}")
                times, _ = uploads(generator, daemon, "--seed", seed + 1, "--count", count, "--pause-ms", 500, option)
                for share in (50, 99):
                    self.note(f"PUT to served repomd.xml, alone{how}: p{share}", "ours", percentile(times, share / 100), "ms")
            self.say(f"8 uploaders that wait, {seconds} s")
            times, _ = uploads(generator, daemon, "--seed", 3, "--connections", 8, "--seconds", seconds, "--wait")
            for share in (50, 99):
                self.note(f"PUT to served repomd.xml, 8 uploaders that wait: p{share}", "ours", percentile(times, share / 100), "ms")
            self.note("8 uploaders that wait: packages a second", "ours", len(times) / seconds, "")
            known = daemon.status()["packages"]
            self.say(f"8 uploaders, {seconds} s")
            start = time.monotonic()
            times, _ = uploads(generator, daemon, "--seed", 4, "--connections", 8, "--seconds", seconds)
            daemon.wait_for(known + len(times))
            self.note("8 uploaders: packages a second, all published", "ours", len(times) / (time.monotonic() - start), "")
            for share in (50, 99):
                self.note(f"8 uploaders, PUT to its answer: p{share}", "ours", percentile(times, share / 100), "ms")
            self.note("after the uploaders: peak memory", "ours", daemon.memory("VmHWM"), "MiB")
        shutil.rmtree(os.path.join(self.trees.ours, "uploads"))

    def rest(self):
        """A restart on an unchanged tree, and the daemon when nothing happens."""
        forget(self.trees.ours)
        with Daemon(self.options.createrepod, self.trees.ours) as daemon:
            daemon.wait_for(self.size)
            self.note("daemon's first start: peak memory", "ours", daemon.memory("VmHWM"), "MiB")
            daemon.settle(4)
        repomd = os.path.join(self.trees.ours, "repodata/repomd.xml")
        before = os.stat(repomd).st_ino
        for number in range(min(3, self.options.rounds)):
            self.say(f"restart, round {number + 1}")
            start = time.monotonic()
            with Daemon(self.options.createrepod, self.trees.ours) as daemon:
                daemon.wait_for(self.size)
                self.note("restart on an unchanged tree: until it serves", "ours", (time.monotonic() - start) * 1000, "ms")
                self.note("restart on an unchanged tree: until it has compared all", "ours", (daemon.settle(1) - start) * 1000, "ms")
                self.note("restart on an unchanged tree: CPU", "ours", daemon.cpu() * 1000, "ms")
                if os.stat(repomd).st_ino != before:
                    fail("a restart on an unchanged tree published something")
                if number == 0:
                    # The worker ends ten seconds after its last work, and gives back what it held.
                    daemon.settle(15)
                    cpu = daemon.cpu()
                    self.say("at rest")
                    time.sleep(5 if self.options.quick else 30)
                    self.note("at rest: CPU", "ours", (daemon.cpu() - cpu) * 1000, "ms")
                    self.note("at rest: memory", "ours", daemon.memory("VmRSS"), "MiB")
                    self.note("at rest: memory, not backed by files", "ours", daemon.memory("RssAnon"), "MiB")

    def disk(self):
        """What metadata and memory of it take after a thousand publications."""
        publications = 100 if self.options.quick else 1000
        forget(self.trees.ours)
        with Daemon(self.options.createrepod, self.trees.ours) as daemon:
            daemon.wait_for(self.size)
            daemon.settle()
            places = (os.path.join(self.trees.ours, "repodata"), daemon.state)
            before = space(*places)
            self.say(f"{publications} publications")
            uploads(self.options.generator, daemon, "--seed", 5, "--count", publications, "--wait")
            daemon.settle(2)
            current = sum(map(os.path.getsize, metadata(self.trees.ours).values())) / (1 << 20)
            what = f"disk after {publications:,} publications"
            self.note(f"{what}: before them", "ours", before / (1 << 20), "MiB")
            self.note(f"{what}: current metadata", "ours", current, "MiB")
            self.note(what, "ours", space(*places) / (1 << 20), "MiB")
            self.report.bar(what, self.size, f"<= {3 * current + publications:.0f}")
            self.note(f"{what}: repodata/ alone", "ours", space(places[0]) / (1 << 20), "MiB")
        shutil.rmtree(os.path.join(self.trees.ours, "uploads"))


# A part of this name is a method of Measures; scripts/bench.py takes them from here.
PARTS = ("full", "sqlite", "changes", "uploads", "rest", "disk")
