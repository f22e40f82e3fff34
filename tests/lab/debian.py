"""Packages of Debian, of any of its releases, from the mirror that this machine's own apt uses."""
import contextlib
import glob
import os
import re
import subprocess

from cache import CannotError

COMPONENTS = "main contrib"
# What is left of apt's trouble when the packages are not to be had, as opposed to a fault of the recipe.
NO_PACKAGES = re.compile(r"(Failed to fetch|Unable to fetch|Temporary failure resolving|Could not (connect|resolve)|Connection timed out|"
                         r".*NO_PUBKEY).*")


def codename():
    with open("/etc/os-release") as f:
        facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', f.read(), re.M))
    if facts.get("ID") != "debian" or "VERSION_CODENAME" not in facts:
        raise CannotError("the packages come from the mirror of the Debian that runs here, and this is none")
    return facts["VERSION_CODENAME"]


def fields(stanza):
    return {k.lower(): v for k, v in re.findall(r"^([A-Za-z-]+):\s*((?:.*)(?:\n[ \t].*)*)", stanza, re.M)}


def own_sources():
    """(URIs, suites, the key's file or None) of each binary source of this machine that has main."""
    lines = []
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(path) as f:
            text = re.sub(r"(?m)^#.*\n", "", f.read())
        for got in map(fields, re.split(r"\n\s*\n", text)):
            if "deb" in got.get("types", "").split() and got.get("enabled", "yes") != "no" and "main" in got.get("components", "").split():
                yield got["uris"], got.get("suites", "").split(), got.get("signed-by")
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        with contextlib.suppress(FileNotFoundError), open(path) as f:
            lines += f.read().splitlines()
    for line in lines:
        m = re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", line)
        if m:
            key = re.search(r"signed-by=(\S+)", m[1] or "")
            yield m[2], [m[3]], key and key[1]


def sources(release=None, more=()):
    """deb822 stanzas of a release (the one that runs here): this machine's own sources with the components that are needed here, and the
    release's name in the place of its own. `more` ("-backports") comes from where the release itself does."""
    here = codename()
    release, stanzas = release or here, []
    for uris, suites, key in own_sources():
        suites = [s for s in suites if re.fullmatch(here + "(-updates|-security|/updates)?", s)]
        names = [release + s.removeprefix(here) for s in suites] + [release + m for m in more if here in suites]
        if names:
            stanzas.append(f"Types: deb\nURIs: {uris}\nSuites: {' '.join(names)}\nComponents: {COMPONENTS}\n" + (f"Signed-By: {key}\n" if key else ""))
    if not stanzas:
        raise CannotError(f"/etc/apt names no source of Debian {here}")
    return "\n".join(stanzas)


def apt_options():
    """How this machine's apt reaches its sources."""
    text = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(?m)^Acquire::(?:http|https|Retries)\b.*;$", text)


def run(argv, log, what, **more):
    """A step of a recipe; its output goes to the log."""
    if subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, **more).returncode == 0:
        return
    log.flush()
    with open(log.name, errors="replace") as f:
        text = f.read()
    away = NO_PACKAGES.search(text)
    if away:
        raise CannotError(f"the packages cannot be had: {away[0]}")
    raise RuntimeError(f"{what} failed, see {log.name}:\n" + "\n".join(text.splitlines()[-25:]))


class Apt:
    """An apt of its own in a folder: it knows the sources of a release and of nothing that is installed."""

    def __init__(self, folder, log, release, more=()):
        self.folder, self.log = folder, log
        for name in ("sources.d", "lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        with open(os.path.join(folder, "sources.d/lab.sources"), "w") as f:
            f.write(sources(release, more))
        self.options = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={folder}/sources.d", "-o",
                        f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache", "-o", "Dir::State::status=/dev/null",
                        "-o", "APT::Sandbox::User=root"]
        run(["apt-get", *self.options, "update", "--error-on=any"], log, "apt-get update")

    def versions(self, package):
        """The newest first."""
        text = subprocess.run(["apt-cache", *self.options, "madison", package], check=True, capture_output=True, text=True).stdout
        return [line.split("|")[1].strip() for line in text.splitlines()]

    def unpacked(self, package, version):
        """The folder with the package's files."""
        folder = os.path.join(self.folder, package)
        os.makedirs(folder)
        run(["apt-get", *self.options, "download", f"{package}={version}"], self.log, f"the download of {package}", cwd=folder)
        deb, = glob.glob(os.path.join(folder, "*.deb"))
        run(["dpkg-deb", "-x", deb, folder], self.log, f"unpacking {package}")
        os.unlink(deb)
        return folder
