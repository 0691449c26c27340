#!/usr/bin/env python3
"""The report as people see it: in Chromium, on a telephone and on a screen, by day and by night.

Every page must load without a message on the console and without asking for anything else, stay within
its width, and hold figures that say in words what they show. Drawn by gnuplot and, with a PATH that has
none, by tardigrad itself. Without Chromium it is skipped (exit 77). With REPORT_SHOTS=FOLDER the pages'
pictures are left there."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import browser  # noqa: E402
import synthetic_runs as synthetic  # noqa: E402

TARDIGRAD = os.environ.get("TARDIGRAD", os.path.join(ROOT, "build", "tardigrad"))
NASTY = "<b>&\"'@0@ `$(true)`\n\\{x}"
# What is looked at, as one expression of JavaScript.
LOOK = """(() => {
  const of = (q, e) => [...(e || document).querySelectorAll(q)];
  const box = e => e.getBoundingClientRect();
  const figures = of('figure').map(f => ({
    id: f.id, caption: f.querySelector('figcaption').textContent.trim(),
    charts: of('svg.chart', f).map(s => ({
      label: s.getAttribute('aria-label'), text: s.querySelector('desc').textContent.trim(),
      said: s.parentNode.querySelector('p').textContent.trim(),
      drawn: of('.line,.steps,.bar', s).filter(p => box(p).width + box(p).height > 3 &&
             (getComputedStyle(p).stroke + getComputedStyle(p).fill).includes('rgb')).length,
      font: Math.min(...of('text', s).map(t => box(t).height)),
      outside: of('text', s).filter(t => box(t).left < box(s).left - 1 || box(t).right > box(s).right + 1 ||
               box(t).bottom > box(s).bottom + 1).map(t => t.textContent),
      over: of('text', s).filter((t, i, all) => all.slice(0, i).some(o => { const a = box(t), b = box(o);
            return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3; }))
            .map(t => t.textContent),
      nan: s.innerHTML.includes('nan') || s.innerHTML.includes('inf') })) }));
  return { wide: document.documentElement.scrollWidth, window: innerWidth, figures: figures,
           words: of('text').map(t => t.textContent), bold: of('b').length, text: document.body.innerText,
           page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
           ids: of('[id]').map(e => e.id) };
})()"""


def report(folder, runs, name, *more, path=None):
    page = os.path.join(folder, name + ".html")
    environment = dict(os.environ, PATH=path) if path else None
    subprocess.run([TARDIGRAD, "-q", "report", *runs, "-o", page, *more], check=True, env=environment,
                   stderr=None if path is None else subprocess.DEVNULL)
    return page


def luminance(colour):
    """Relative, of rgb(r, g, b), as WCAG has it."""
    parts = [int(v) / 255 for v in colour[colour.index("(") + 1:-1].split(",")[:3]]
    parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def check(page, seen, dark, events):
    """What is wrong with a page, in words."""
    if seen["wide"] > seen["window"]:
        yield f"{seen['wide']} wide in a window of {seen['window']}"
    if not seen["figures"]:
        yield "no figures"
    if len(set(seen["ids"])) != len(seen["ids"]):
        yield "an id stands twice"
    if seen["bold"]:
        yield "markup of a name has become markup"
    if (luminance(seen["page"]) < 0.2) != dark or abs(luminance(seen["page"]) - luminance(seen["ink"])) < 0.5:
        yield f"text {seen['ink']} on {seen['page']}"
    for figure in seen["figures"]:
        if not figure["caption"]:
            yield f"{figure['id']} has no caption"
        for chart in figure["charts"]:
            where = f"{figure['id']} {chart['label']}"
            if not chart["label"] or not any(c.isdigit() for c in chart["text"]) or chart["said"][:40] != chart["text"][:40]:
                yield f"{where} does not say what it shows: {chart['text']!r}"
            if not chart["drawn"]:
                yield f"{where}: nothing is drawn"
            if chart["font"] < 9.5:
                yield f"{where}: a text of {chart['font']:.1f} pixels"
            if chart["outside"]:
                yield f"{where}: cut off: {chart['outside']}"
            if chart["over"]:
                yield f"{where}: texts over others: {chart['over']}"
            if chart["nan"]:
                yield f"{where}: a number that is none"
    for event in events:
        if event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            yield f"on the console: {event['params']}"
        if event.get("method") == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if url != "file://" + page and not url.startswith("data:"):
                yield f"asks for {url}"


def nasty_runs(folder):
    """A name, a host and a setting that are markup, quotes and gnuplot."""
    base = {"data.name": "cifar10", "model.name": "resnet20", "transport.name": "mpi"}
    runs = []
    for seed, rule in enumerate((NASTY, "asgd")):
        content = list(synthetic.lines("asgd", 4, 9, 0.5, 0, seed, 40))
        content[0]["host"] = content[0]["device"] = NASTY
        runs.append(synthetic.make(folder, f"x{seed}" + NASTY.replace("/", ""), {**base, "sync.rule": rule.replace("\n", "")}, content))
    return runs


def pages(folder):
    """(name, page, whether gnuplot is to have drawn it)."""
    runs = synthetic.grid(os.path.join(folder, "grid"))
    nasty = nasty_runs(folder)
    one = [r for r in runs if r.endswith("v3-dc-asgd-a-4-s1")]
    few = [r for r in runs if "-4-s" in r and "/v0-" in r or "-4-s" in r and "/v3-" in r]
    simulated = synthetic.grid(os.path.join(folder, "sim"), 4, (2, 4), 2, 60, True)
    unfinished = [synthetic.make(folder, "young", {"sync.rule": "asgd"},
                                 synthetic.lines("asgd", 4, 9, 0.5, 0, 1, 20, ended=False))]
    here = shutil.which("gnuplot") is not None
    nowhere = os.path.join(folder, "nowhere")
    return [("many", report(folder, runs, "many"), here), ("one", report(folder, one, "one"), here),
            ("few", report(folder, few, "few", "--target", "5"), here),
            ("simulated", report(folder, simulated + few, "simulated"), here),
            ("unfinished", report(folder, unfinished, "unfinished"), here),
            ("nasty", report(folder, nasty, "nasty"), here),
            ("plain", report(folder, few, "plain", path=nowhere), False),
            ("plain-nasty", report(folder, nasty, "plain-nasty", path=nowhere), False),
            ("plain-one", report(folder, one, "plain-one", path=nowhere), False)]


def main():
    if not browser.find():
        print("chromium is not here")
        return 77
    folder, shots, wrong = tempfile.mkdtemp(prefix="tardigrad-test-"), os.environ.get("REPORT_SHOTS"), []
    try:
        with browser.Browser() as b:
            for name, page, by_gnuplot in pages(folder):
                for width in (360, 1280):
                    for dark in (False, True):
                        b.open("file://" + page, width, 900, dark)
                        seen = b.value(LOOK)
                        wrong += [f"{name}, {width} wide, {'dark' if dark else 'light'}: {w}"
                                  for w in check(page, seen, dark, b.events)]
                        if shots:
                            b.screenshot(f"{shots}/{name}-{width}-{'dark' if dark else 'light'}.png")
                if ("Drawn without gnuplot" in seen["text"]) == by_gnuplot:
                    wrong.append(f"{name}: not drawn by whom it should be")
                if "nasty" in name and not any("`$(true)`" in w and "<b>" in w for w in seen["words"]):
                    wrong.append(f"{name}: the rule's name is in no figure")
                if name == "few" and "not reached" not in seen["text"]:
                    wrong.append("few: a target that nobody reaches is not said to be so")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for w in wrong[:40]:
        print(w)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
