"""The book: built without a warning, every module in it, and every page whole, as a browser sees it from disk."""

import html.parser
import importlib
import pathlib
import pkgutil
import re
import sys
import urllib.parse

import browser
import pytest

import fffref

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import book  # noqa: E402

needs_browser = pytest.mark.skipif(
    browser.find() is None, reason="no Chromium on PATH, so no page was opened (Debian: apt-get install chromium)"
)
LOOK = r"""
(async () => {
  if (window.MathJax?.startup) await MathJax.startup.promise;
  const all = (selector) => [...document.querySelectorAll(selector)], start = (node) => node.textContent.slice(0, 60);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), raw = [];
  for (let text; (text = texts.nextNode()); )
    if (/\\[([]|\\begin\{|\$[^$]*\$/.test(text.data) && !text.parentElement.closest("pre, code, script"))
      raw.push(text);
  return {
    formulas: all(".math").length,
    plain: all(".math").filter((formula) => !formula.querySelector("mjx-container svg")).map(start),
    wrong: all("[data-mml-node=merror]").map(start),
    raw: raw.map(start),
    images: all("img").filter((image) => !(image.complete && image.naturalWidth > 0)).map((image) => image.src),
    untold: all("img:not(.toggler)").filter(({ alt }) => alt.length < 10 || /[0-9a-f]{16}|^\S+$/.test(alt))
      .map((image) => image.src),
    pipes: all("article :not(pre, code, pre *, code *, script)").flatMap((node) => [...node.childNodes])
      .filter((node) => node.nodeType === 3 && node.data.includes("|---")).map(start),
    empty: all("table").filter((table) => !table.querySelector("tr td")).map(start),
    open: all(".tag_solution :is(.cell_input, .cell_output)")
      .filter((part) => !part.closest("details:not([open])")).map(start),
    wide: document.documentElement.scrollWidth - innerWidth,
  };
})()
"""


# Code whose lines have at most 88 columns, and which cannot be read without scrolling.
CUT = """
[...document.querySelectorAll(".cell_input pre")]
  .filter((code) => Math.max(...code.textContent.split("\\n").map((line) => line.length)) <= 88)
  .filter((code) => [code, code.parentElement].some((box) => box.scrollWidth > box.clientWidth))
  .map((code) => code.textContent.slice(0, 60))
"""
COMPLAINTS = {
    "plain": "formula not rendered (plain)",
    "wrong": "formula not rendered (wrong)",
    "raw": "formula not rendered (raw)",
    "images": "image not loaded",
    "untold": "image without a text that says what it shows",
    "pipes": "table shown as text",
    "empty": "table without a row",
    "open": "solution not folded",
}


class Page(html.parser.HTMLParser):
    """What a page is called, what it holds and what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.title, self._in_title = set(), [], [], "", False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        """Collect what an element defines and what it refers to."""
        attributes = dict(attributes)
        self._in_title = tag == "title" and not self.title
        self.ids |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in ("img", "script", "iframe", "source", "video") and attributes.get("src"):
            self.loads.append(attributes["src"])
        if tag == "link" and attributes.get("rel") not in ("canonical", "index", "search", "next", "prev"):
            self.loads.append(attributes["href"])

    def handle_endtag(self, tag):
        """The title ends here."""
        self._in_title = self._in_title and tag != "title"

    def handle_data(self, data):
        """Collect the title."""
        self.title += data * self._in_title


def reading(folder):
    """What is wrong with the pages of a folder, found by reading them: a list of lines."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(folder)
        if not page.title.strip(" -—\n") or "<no title>" in page.title:
            yield f"{where}: no title"
        for link in [*page.links, *page.loads]:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme in ("http", "https", "mailto") or link.startswith("//"):
                if link in page.loads:
                    yield f"{where}: loads {link}"
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme in ("", "file") and not target.is_file():
                yield f"{where}: broken link {link}"
            elif parts.fragment and target in pages and urllib.parse.unquote(parts.fragment) not in pages[target].ids:
                yield f"{where}: no such place {link}"


def looking(window, folder, path):
    """What is wrong with one page, found by opening it: a list of lines."""
    window.open(path.as_uri())
    seen = window.evaluate(LOOK)
    where = path.relative_to(folder)
    for kind, complaint in COMPLAINTS.items():
        yield from (f"{where}: {complaint}: {text}" for text in seen[kind])
    if seen["wide"] > 0:
        yield f"{where}: {seen['wide']} pixels wider than the window"
    yield from (f"{where}: {complaint}" for complaint in complaints(window.events))


def complaints(events):
    """Errors, warnings and requests to anywhere but the disk, among what a page reports."""
    for event in events:
        what = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            yield f"exception: {details.get('exception', {}).get('description', details['text'])}"
        if event["method"] == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            yield f"console {what['type']}: {what['args'][0].get('value', what['args'][0].get('description'))}"
        if event["method"] == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            yield f"console {what['entry']['level']}: {what['entry']['text']}"
        if event["method"] == "Network.requestWillBeSent":
            if not what["request"]["url"].startswith(("file:", "data:", "blob:")):
                yield f"request to {what['request']['url']}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The book, built here and now."""
    return book.build(tmp_path_factory.mktemp("book") / "book").parent


@pytest.fixture(scope="module")
def window():
    """A browser, the size of a phone: what fits there fits anywhere."""
    with browser.Browser() as window:
        window.resize(360, 740)
        yield window


def test_links_lead_somewhere_and_pages_have_titles(folder):
    assert list(reading(folder)) == []
    assert len(list(folder.rglob("*.html"))) > 40


def test_every_notebook_is_there_with_its_question(folder):
    front = (folder / "index.html").read_text()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        assert f'href="notebooks/{path.stem}.html"' in front
        page = (folder / "notebooks" / f"{path.stem}.html").read_text()
        source = path.read_text()
        assert page.count("<details") >= source.count('"hide-cell"') + source.count('"hide-input"') > 0


def test_every_public_name_of_every_module_is_there(folder):
    for module in pkgutil.walk_packages(fffref.__path__, "fffref."):
        if module.name == "fffref.__main__":
            continue
        ids = Page(folder / "api" / f"{module.name}.html").ids
        for name, thing in vars(importlib.import_module(module.name)).items():
            if getattr(thing, "__module__", None) == module.name and not name.startswith("_"):
                assert f"{module.name}.{name}" in ids


def test_every_command_is_there_with_its_help(folder):
    page = (folder / "command-line.html").read_text()
    for command in book.cli.COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("_", "-")
        assert f"usage: fffref {name} [-h]" in page


@needs_browser
def test_every_page_is_whole_in_a_browser(folder, window):
    found = [line for path in sorted(folder.rglob("*.html")) for line in looking(window, folder, path)]
    assert found == []


@needs_browser
def test_code_of_notebooks_is_not_cut(folder, window):
    window.resize(1280, 800)
    try:
        pages = sorted((folder / "notebooks").glob("[0-9]*.html"))
        found = [f"{path.name}: {code}" for path in pages for code in cut(window, path)]
    finally:
        window.resize(360, 740)
    assert pages and found == []


def cut(window, path):
    """Beginnings of the cells that are cut."""
    window.open(path.as_uri())
    return window.evaluate(CUT)


@needs_browser
def test_code_that_is_cut_is_found(window, tmp_path):
    page = tmp_path / "page.html"
    code = f"<pre style='width: 20em; overflow: auto'>{'x' * 88}\n{'y' * 8}</pre>"
    page.write_text(f"<div class=cell_input>{code}</div>")
    assert cut(window, page) == ["x" * 60]
    page.write_text(page.read_text().replace("x" * 88, "x" * 89))
    assert cut(window, page) == []  # longer lines may be


@needs_browser
def test_formulas_and_figures_are_where_they_are_expected(folder, window):
    window.open((folder / "notebooks" / "01-soft-trees.html").as_uri())
    assert window.evaluate(LOOK)["formulas"] >= 10
    assert window.evaluate("document.querySelectorAll('.cell_output img').length") >= 1


@needs_browser
def test_the_search_finds_without_a_server(folder, window):
    window.open((folder / "search.html").as_uri() + "?q=entropy")
    found = """document.querySelector('#search-results a[href*="fffref.training.losses"]')"""
    window.evaluate(f"new Promise((done) => {{ (function look() {{ {found} ? done() : setTimeout(look, 50); }})(); }})")
    assert list(complaints(window.events)) == []


WHOLE = "<!doctype html><title>A page</title><body><p id='here'>Text, <a href='#here'>a link</a></p>"
DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
BROKEN = {
    "no title": WHOLE.replace("A page", ""),
    "broken link": f"{WHOLE}<a href='nowhere.html'>away</a>",
    "no such place": f"{WHOLE}<a href='#nowhere'>away</a>",
    "loads https://": f"{WHOLE}<script src='https://example.invalid/x.js'></script>",
    "image not loaded": f"{WHOLE}<img src='missing.png'>",
    "exception": f"{WHOLE}<script>undefined.f()</script>",
    "console error": f"{WHOLE}<script>console.error('oh')</script>",
    "request to http": f"{WHOLE}<script>new Image().src = 'https://example.invalid/x.png'</script>",
    "says what it shows": f"{WHOLE}<img alt='../_images/0123456789abcdef0123.png' src='{DOT}'>",
    "table shown as text": f"{WHOLE}<article><p>|a|b|\n|---|---|</p></article>",
    "table without a row": f"{WHOLE}<table><tr><th>a</th></tr></table>",
    "solution not folded": f"{WHOLE}<div class=tag_solution><details></details><p class=cell_output>42</p></div>",
    "rendered (raw)": rf"{WHOLE}<p>so \(x^2\) it is</p>",
    "rendered (raw): so $": f"{WHOLE}<p>so $x^2$ it is</p>",
    "rendered (plain)": f"{WHOLE}<span class='math'>x^2</span>",
    "wider than the window": f"{WHOLE}<div style='width: 2000px'>wide</div>",
}


@needs_browser
@pytest.mark.parametrize("complaint", [None, *BROKEN])
def test_a_broken_page_is_found(complaint, window, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(BROKEN.get(complaint, WHOLE))
    found = [*reading(tmp_path), *looking(window, tmp_path, page)]
    assert any(complaint in line for line in found) if complaint else found == []


def test_a_warning_of_sphinx_stops_the_build(tmp_path, monkeypatch, capfd):
    def gather(source):
        source.mkdir()
        (source / "index.md").write_text("# A page\n\n[away](nowhere.md)\n")

    monkeypatch.setattr(book, "gather", gather)
    with pytest.raises(book.subprocess.CalledProcessError):
        book.build(tmp_path / "book")
    assert "nowhere.md" in capfd.readouterr().err


def test_the_docstrings_that_sphinx_reads_are_plain_text():
    sys.path.insert(0, str(ROOT / "docs"))
    from conf import escaped

    assert escaped("a * b, |x| and w_, all `LeafFFF`s: `a*b|`") == r"a \* b, \|x\| and w\_, all `LeafFFF`\ s: `a*b|`"
    assert re.findall(r"`[^`]*`", escaped("``1 * 2`` is 2")) != []
