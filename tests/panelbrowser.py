"""A real browser for tests of the web panel: Debian's Chromium, driven by playwright-core, which npm installs into the build folder once
(tests/panel/package-lock.json says which). Also who lays the panel's files out as a package does."""
import atexit
import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile

import npm
import rig

HERE = npm.source("panel")
MODULES = npm.folder("panel")
LIBRARY = os.path.join(rig.BUILD, "panel", "preact.js")


def cannot():
    """Why this machine has no browser for tests; None: it has."""
    if not executable():
        return "chromium is not installed"
    if not os.path.exists(LIBRARY):
        return f"the panel is not built: esbuild or node-preact is not installed ({LIBRARY})"
    return npm.install("panel")


def executable():
    """The one without windows, where there is such a package, takes half as long to do the same."""
    return os.environ.get("PVESR_BROWSER") or shutil.which("chromium-headless-shell") or shutil.which("chromium")


@functools.cache
def started():
    browser = Browser(home=tempfile.mkdtemp(prefix="browser-"))
    atexit.register(browser.__exit__)
    return browser


@contextlib.contextmanager
def visitor():
    """The one browser of this program, which takes longer to start than most tests do; each open() is a new visitor, who has no cookies yet. The
    page is gone when the test is over, and must have complained of nothing."""
    b = started()
    try:
        yield b
        assert not b.faults(), b.faults()
    finally:
        if b.process.poll() is None:
            b.close()
        else:
            started.cache_clear()


def lay_out(folder):
    """The panel's files, as they lie in /usr/share/pvesr/panel."""
    shutil.copytree(os.path.join(rig.ROOT, "panel"), folder, ignore=shutil.ignore_patterns("meson.build", "README.md"), dirs_exist_ok=True)
    os.makedirs(os.path.join(folder, "lib"), exist_ok=True)
    shutil.copy(LIBRARY, os.path.join(folder, "lib"))
    return folder


class Browser:
    """told("click", role="button", name="Add"): see tests/panel/browser.mjs."""

    def __init__(self, inside=lambda argv: argv, home=None):
        env = {**os.environ, "PVESR_BROWSER": executable(), "PVESR_BROWSER_TIMEOUT": str(int(60000 * rig.SLOW)), **({"HOME": home} if home else {})}
        self.process = subprocess.Popen(inside(["node", os.path.join(HERE, "browser.mjs"), MODULES]), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            rig.stop(self.process)
        self.process.stdout.close()

    def __getattr__(self, command):
        return lambda **told: self.told(command, **told)

    def told(self, command, **more):
        self.process.stdin.write(json.dumps({"do": command, **more}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the browser is gone")
        answer = json.loads(line)
        if "error" in answer:
            self.keep_picture(command)
            raise AssertionError(f"{command} {more}: {answer['error']}")
        return answer["value"]

    def button(self, name, **more):
        self.click(role="button", name=name, **more)

    def keep_picture(self, failed):
        """Of what a failure looks like: PVESR_PANEL_PICTURE=FILE.png."""
        path = os.environ.get("PVESR_PANEL_PICTURE")
        if path and failed != "shot":
            self.told("shot", path=path)

    def sees(self, text, **more):
        """Waits for an element that has the text."""
        self.wait(text=text, **more)

    def serious(self):
        """What axe-core finds, and what the page complained of."""
        return self.told("axe") + self.told("faults")
