"""Fresh roots of Debian releases, for root: one with nothing but apt, as packages are to be installed in, and one with what building the
package needs. Both come of one run of mmdebstrap, some minutes, and are kept as tests/lab keeps its images: in PVESR_PACKAGE_CACHE,
else where those are."""
import os
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
if os.environ.get("PVESR_PACKAGE_CACHE"):
    os.environ["PVESR_LAB_CACHE"] = os.environ["PVESR_PACKAGE_CACHE"]
import cache  # noqa: E402
import debian  # noqa: E402
from cache import CannotError  # noqa: E402

RELEASES = ("bookworm", "trixie")
UNWANTED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}


def build_depends():
    text = cache.content(os.path.join(TOP, "debian", "control"))
    return ["build-essential", *re.findall(r"[a-z0-9][a-z0-9.+-]+(?=[ ,(\n])", re.search(r"(?m)^Build-Depends:((?:.*\n[ \t])*.*\n)", text)[1])]


def make(release, depends, folder, log):
    """The copy is taken when all is there but what the building needs, with apt's lists; then that is installed."""
    cache.say(f"making roots of Debian {release} (a minute or two, once): {log.name}")
    with open(os.path.join(folder, "root.sources"), "w") as f:
        f.write(debian.sources(release))
    options = ['APT::Install-Recommends "false";', *debian.apt_options()]
    hooks = [f"cp -a --one-file-system --reflink=auto \"$1\" {folder}/minimal", f"cp -a \"$1/var/cache/apt/archives\" {folder}/archives",
             f"chroot \"$1\" apt-get -q install -y {' '.join(depends)}"]
    debian.run(["mmdebstrap", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io", *(f"--aptopt={o}" for o in options),
                *(f"--dpkgopt=path-exclude={p}" for p in UNWANTED), *(f"--customize-hook={h}" for h in hooks),
                release, f"{folder}/building", f"{folder}/root.sources"], log, "mmdebstrap")


def of(release):
    """The folder with the roots `minimal` and `building`, and `archives`, for the packages that apt gets later."""
    if os.geteuid() != 0:
        raise CannotError("only root can make a root of another system")
    if not shutil.which("mmdebstrap"):
        raise CannotError("not installed: mmdebstrap")
    depends = build_depends()
    recipe = cache.digest(release, depends, cache.content(os.path.abspath(__file__)), debian.sources(release))
    return cache.kept(f"root-{release}", recipe, lambda folder, log: make(release, depends, folder, log))


def mount(layers, at):
    """A root that lies on these, the first on top, with what is changed in memory: a folder below `at`. It lasts as long as the caller's mount
    namespace, which must be its own."""
    root = os.path.join(at, "root")
    os.makedirs(at, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4G,mode=755", "fresh-root", at], check=True)
    for name in ("upper", "work", "root"):
        os.mkdir(os.path.join(at, name))
    subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={':'.join(layers)},upperdir={at}/upper,workdir={at}/work", "fresh-root", root],
                   check=True)
    subprocess.run(["mount", "-t", "proc", "proc", f"{root}/proc"], check=True)
    return root


def run(root, *argv, env=None, **more):
    return subprocess.run(["chroot", root, *argv], env={**ENVIRONMENT, **(env or {})}, stdin=subprocess.DEVNULL, check=False, **more)
