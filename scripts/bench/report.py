"""Rows, the bars they are held to, and the table."""

from .programs import median

# What is measured -> for each size (None: any): bars as (must, aim). A text that begins with "1/" or
# is a bare number is a ratio to createrepo_c; "<= 100" and ">= 300" are about our own figure.
BARS = {
    "full index, zstd: wall": {10_000: ("0.45", "0.28")},
    "full index, gzip: wall": {10_000: ("0.45", "0.28")},
    "full index, zstd: CPU": {10_000: ("0.55", "0.35")},
    "full index, gzip: CPU": {10_000: ("0.55", "0.35")},
    "full index, zstd: peak memory": {50_000: ("0.5", "<= 150")},
    "full index, gzip: peak memory": {50_000: ("0.5", "<= 150")},
    "one added, fresh time": {1_000: ("1/20", "1/50"), 10_000: ("1/100", "1/500"), 50_000: ("1/150", "1/1000")},
    "one added, ten minutes old": {10_000: ("1/40", "1/100"), 50_000: ("1/40", "1/100")},
    "one added, a year old": {10_000: ("1/40", "1/100"), 50_000: ("1/40", "1/100")},
    "one removed in the middle": {10_000: ("1/40", "1/100"), 50_000: ("1/40", "1/100")},
    "one replaced in the middle": {10_000: ("1/40", "1/100"), 50_000: ("1/40", "1/100")},
    "one added, fresh time: t(50k) / t(1k)": {None: ("<= 5", "<= 2")},
    "PUT to served repomd.xml, alone: p99": {10_000: ("<= 100", "<= 25")},
    "8 uploaders: packages a second, all published": {10_000: (">= 300", ">= 1000")},
    "one added, fresh time, sqlite": {10_000: ("1/20", "1/60")},
    # For real metadata; ours are generated.
    "all three, zstd": {None: ("1.02", "1")},
    "all three, gzip": {None: ("1.03", "1")},
    "at rest: memory": {50_000: ("<= 100", "<= 40")},
    "at rest: CPU": {50_000: ("<= 0", "")},
    "decode zstd": {None: ("1.1", "")},
    "decode gzip": {None: ("1.1", "")},
    "dnf makecache, zstd": {None: ("1.1", "")},
}


class Report:
    def __init__(self):
        self.rows = {}

    def note(self, what, size, side, value, unit):
        """`side` is ours, unsynced or theirs."""
        row = self.rows.setdefault((what, size), {"unit": unit, "must": None})
        row.setdefault(side, []).append(value)

    def bar(self, what, size, must):
        """A bar that depends on what was measured."""
        self.rows[(what, size)]["must"] = must

    def lines(self):
        head = ["what", "packages", "createrepod", "unsynced", "createrepo_c", "ratio", "must", "aim", "must / aim"]
        yield head
        first, last = self.median("one added, fresh time", 1_000), self.median("one added, fresh time", 50_000)
        if first and last:
            self.rows.pop(("one added, fresh time: t(50k) / t(1k)", None), None)
            self.note("one added, fresh time: t(50k) / t(1k)", None, "ours", last / first, "")
        for (what, size), row in self.rows.items():
            ours, theirs = median(row.get("ours")), median(row.get("theirs"))
            ratio = ours / theirs if ours is not None and theirs else None
            bars = BARS.get(what, {})
            must, aim = bars.get(size) or bars.get(None) or (row["must"] or "", "")
            verdicts = [verdict(bar, ours, ratio) for bar in (must, aim) if bar]
            yield [
                what + (f", {row['unit']}" if row["unit"] else ""),
                f"{size:,}" if size else "",
                spread(row.get("ours")), spread(row.get("unsynced")), spread(row.get("theirs")),
                fraction(ratio), must, aim, " / ".join(verdicts),
            ]

    def median(self, what, size):
        return median(self.rows.get((what, size), {}).get("ours"))

    def markdown(self):
        head, *rows = self.lines()
        yield "| " + " | ".join(head) + " |"
        yield "|---|" + "--:|" * (len(head) - 2) + "---|"
        for row in rows:
            yield "| " + " | ".join(row) + " |"

    def text(self):
        table = list(self.lines())
        widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
        for row in table:
            cells = [cell.ljust(width) if at in (0, 8) else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))]
            yield "  ".join(cells).rstrip()


def verdict(bar, ours, ratio):
    words = bar.split()
    if len(words) == 2:
        good = ours <= float(words[1]) if words[0] == "<=" else ours >= float(words[1])
    elif ratio is None:
        return "?"
    else:
        good = ratio <= (1 / float(bar[2:]) if bar.startswith("1/") else float(bar))
    return "yes" if good else "NO"


def fraction(ratio):
    if ratio is None:
        return ""
    return f"1/{1 / ratio:.0f}" if ratio < 0.15 else f"{ratio:.2f}"


def spread(values):
    """The median, and the smallest and largest value where they differ by more than a tenth."""
    if not values:
        return ""
    middle, low, high = median(values), min(values), max(values)
    text = digits(middle)
    return f"{text} ({digits(low)}…{digits(high)})" if high > 1.1 * low else text


def digits(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
