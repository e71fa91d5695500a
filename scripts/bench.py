#!/usr/bin/env python3
"""Measures createrepod beside createrepo_c 1.2, in turn in the same run, and prints one table.

    make bench                                   1,000, 10,000 and 50,000 packages; about an hour
    make bench BENCH="--sizes 10k --quick"       a first look in a few minutes
    make bench BENCH="--only changes,rest"       some parts of: full, sqlite, changes, uploads, rest, disk

The packages come from benches/generator, the same for a seed on every machine, and stay below
target/bench. Figures are medians of the rounds. Times are of warm trees, with our shipped defaults,
our syncs to the disk included; "unsynced" is the same with fsync, fdatasync and syncfs made to do
nothing, for createrepo_c never syncs. Nothing here fails because something was slow.

Python's standard library only.
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import sys

sys.dont_write_bytecode = True

from bench.measures import PARTS, Measures  # noqa: E402
from bench.programs import machine, version  # noqa: E402
from bench.report import Report  # noqa: E402
from bench.sets import Trees, generated  # noqa: E402

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"


def main():
    options = arguments()
    os.makedirs(options.work, exist_ok=True)
    report = Report()
    load = [os.getloadavg()[0]]
    # Ends like Ctrl-C: the daemon is stopped, the trees are removed, what was measured is printed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    about = [
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {machine(options)}",
        f"createrepod {version(options.createrepod)}, createrepo_c {version(options.createrepo_c)}; rounds: {options.rounds}"
        f" (createrepo_c's changes: {options.their_rounds}); seed {options.seed}",
    ]
    print("\n".join(about))
    try:
        for size in options.sizes:
            measure(options, report, size)
    except KeyboardInterrupt:
        print("bench: interrupted; what was measured so far:", file=sys.stderr)
    load.append(os.getloadavg()[0])
    about.append(f"load before and after: {load[0]:.1f}, {load[1]:.1f} (measuring alone makes about {os.cpu_count()} at the end)")
    if load[0] > 0.5:
        about.append(f"WARNING: the machine was not quiet at the start (load {load[0]:.1f}): these figures are too high, the ratios unsure")
    progress("")
    print("\n".join(about[2:]) + "\n")
    print("\n".join(report.text()))
    publish(options, about, report)


def measure(options, report, size):
    say = lambda text: progress(f"{size:,} packages: {text}")  # noqa: E731
    say("making them")
    folder = generated(options, size)
    say("laying out the trees")
    work = os.path.join(options.work, f"work-{os.getpid()}")
    try:
        trees = Trees(folder, work)
        measures = Measures(options, report, trees, size, say)
        for part in PARTS:
            if part in options.only:
                getattr(measures, part)()
                keep(options, report)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=sizes, default=sizes("1k,10k,50k"), help="such as 1k,10k,50k,100k (default 1k,10k,50k)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--their-rounds", type=int, default=3, help="rounds of createrepo_c's changes, which take long (default 3)")
    parser.add_argument("--quick", action="store_true", help="two rounds, short uploads: a first look, no figures to show")
    parser.add_argument("--only", action="extend", type=parts, metavar="PARTS", help=f"only these parts of {','.join(PARTS)}; can be given more than once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", metavar="FILE", help="put the table into this Markdown file, between its two marks")
    parser.add_argument("--createrepod", default=os.path.join(PROJECT, "target/release/createrepod"))
    parser.add_argument("--generator", default=os.path.join(PROJECT, "target/release/createrepod-generator"))
    parser.add_argument("--createrepo_c", default=reference())
    parser.add_argument("--work", default=os.path.join(PROJECT, "target/bench"), help="where packages are kept and trees are made")
    options = parser.parse_args()
    options.only = options.only or PARTS
    options.work = os.path.abspath(options.work)
    if options.quick:
        options.rounds = options.their_rounds = min(2, options.rounds)
    options.their_rounds = min(options.their_rounds, options.rounds)
    for program in (options.createrepod, options.generator, options.createrepo_c):
        if not os.access(program, os.X_OK):
            sys.exit(f"bench: {program} is missing (make bench builds and installs what it needs)")
    return options


def parts(text):
    words = text.split(",")
    for word in words:
        if word not in PARTS:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(PARTS)}")
    return words


def sizes(text):
    return [int(word[:-1]) * 1000 if word.endswith("k") else int(word) for word in text.split(",")]


def reference():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    clients = os.environ.get("CREATEREPOD_CLIENTS") or os.path.join(cache, "createrepod/clients")
    return os.path.join(clients, "createrepo_c/createrepo_c/data/bin/createrepo_c")


def publish(options, about, report):
    """The table as Markdown, and into the document that was named."""
    text = "\n".join([*(f"{line}  " for line in about), "", *report.markdown()]) + "\n"
    with open(os.path.join(options.work, "table.md"), "w") as file:
        file.write(text)
    if options.write:
        with open(options.write) as file:
            document = file.read()
        before, _, rest = document.partition(BEGIN)
        _, mark, after = rest.partition(END)
        if not mark:
            sys.exit(f"bench: {options.write} has no line {BEGIN} before a line {END}; the table is in {options.work}/table.md")
        with open(options.write, "w") as file:
            file.write(f"{before}{BEGIN}\n{text}{END}{after}")


def keep(options, report):
    """Every single value, for whoever wants to look closer."""
    with open(os.path.join(options.work, "figures.json"), "w") as file:
        json.dump([{"what": what, "packages": size, **row} for (what, size), row in report.rows.items()], file, indent=1)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
