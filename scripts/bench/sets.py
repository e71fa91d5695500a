"""Sets of packages, made once by benches/generator and kept below target/bench; trees to work on."""

import os
import re
import shutil
import subprocess
import time

from .programs import fail

EXTRA = 300
# Raise it when the generator makes other bytes.
GENERATION = 1


def generated(options, size):
    """The directory of a set, made if it is not there: tree/ and extra/."""
    folder = os.path.join(options.work, f"set-{size}-seed{options.seed}-{GENERATION}")
    if not os.path.isdir(folder):
        unfinished = f"{folder}.{os.getpid()}"
        command = [options.generator, "packages", "--count", str(size), "--extra", str(EXTRA), "--seed", str(options.seed), "--out", unfinished]
        if subprocess.run(command).returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            fail("the packages could not be made")
        os.rename(unfinished, folder)
    return folder


class Trees:
    """Two trees of one set side by side, one for each program, and packages to add to each.

    The trees are hard links: files in them are renamed and unlinked, never written.
    """

    def __init__(self, folder, work):
        shutil.rmtree(work, ignore_errors=True)
        redate(folder)
        self.work = work
        self.ours, self.theirs = (os.path.join(work, side, "tree") for side in ("ours", "theirs"))
        for tree in (self.ours, self.theirs):
            link(os.path.join(folder, "tree"), tree)
            os.makedirs(os.path.join(os.path.dirname(tree), "held"))
            extra = os.path.join(os.path.dirname(tree), "extra")
            shutil.copytree(os.path.join(folder, "extra"), extra)
        names = sorted(os.listdir(os.path.join(folder, "extra")))
        # Those from the middle of the alphabet first: what is old goes among the others by its name.
        self.extra = names[len(names) // 2 :] + names[: len(names) // 2]
        packages = [os.path.join(at, name) for at, _, names in os.walk(self.ours) for name in names]
        # In the order in which packages of earlier days are published.
        packages.sort(key=lambda path: (os.path.basename(path), path))
        self.packages = [os.path.relpath(path, self.ours) for path in packages]
        for path in packages:
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass

    def middle(self, at):
        """A package from the middle of the order, another one for each number."""
        return self.packages[len(self.packages) // 2 + at * 7]


def link(source, target):
    for at, folders, names in os.walk(source):
        place = os.path.join(target, os.path.relpath(at, source))
        os.makedirs(place, exist_ok=True)
        for name in names:
            os.link(os.path.join(at, name), os.path.join(place, name))


def redate(folder):
    """Moves all file times so that the newest package is a minute old: what "ten minutes old" means depends on it."""
    files = [os.path.join(at, name) for at, _, names in os.walk(os.path.join(folder, "tree")) for name in names]
    times = {path: int(os.stat(path).st_mtime) for path in files}
    shift = int(time.time()) - 60 - max(times.values())
    for path, when in times.items():
        os.utime(path, (when + shift, when + shift))


def forget(tree):
    """Removes the metadata and all memory of it."""
    for path in (os.path.join(tree, "repodata"), os.path.join(tree, ".repodata"), os.path.join(tree, ".createrepod"), os.path.join(os.path.dirname(tree), "state")):
        shutil.rmtree(path, ignore_errors=True)
    # What was written before must not be paid for by what is measured next.
    os.sync()


def metadata(tree):
    """Paths of primary, filelists and other."""
    with open(os.path.join(tree, "repodata/repomd.xml")) as file:
        text = file.read()
    found = {}
    for kind in ("primary", "filelists", "other"):
        href = re.search(rf'href="(repodata/[^"]*{kind}\.xml[^"]*)"', text)
        if not href:
            fail(f"{tree}: no {kind} in repomd.xml")
        found[kind] = os.path.join(tree, href[1])
    return found


def space(*folders):
    """Bytes on the disk."""
    total = 0
    for folder in folders:
        for at, _, names in os.walk(folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(at, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
    return total
