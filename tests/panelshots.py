#!/usr/bin/env python3
"""Pictures of every page of the web panel, light, dark, 360 px wide and in German: tests/panelshots.py FOLDER. Look at each of them after a change of the panel."""
import os
import sys
import tempfile

import panelbrowser
import panelworld

LOOKS = {  # name: what the browser is like
    "light": {},
    "dark": {"scheme": "dark"},
    "narrow": {"width": 360, "height": 740},
    "narrow-dark": {"width": 360, "height": 740, "scheme": "dark"},
    "german": {"locale": "de-DE"},
}
WORDS = {"en": {"log_in": "Log in", "user": "User name", "password": "Password", "add": "Add", "edit": "Edit", "remove": "Remove", "log": "Log",
                "columns": "Columns", "resources": "Resources", "schedule": "Schedule", "failover": "Fail over", "failover_do": "Fail over now"},
         "de": {"log_in": "Anmelden", "user": "Benutzername", "password": "Passwort", "add": "Hinzufügen", "edit": "Bearbeiten", "remove": "Entfernen",
                "log": "Log", "columns": "Spalten", "resources": "Ressourcen", "schedule": "Zeitplan", "failover": "Übernehmen", "failover_do": "Jetzt übernehmen"}}


def look_at_job(b, words):
    for css in (".plot svg", ".run", ".plan li", ".page.job > .log >> text=end replication job"):
        b.wait(css=css)


def open_a_run(b, words):
    look_at_job(b, words)
    b.click(css=".run:nth-child(3) summary")
    b.run(script="document.querySelector('.run').scrollIntoView()")


def look_at_log(b, words):
    look_at_job(b, words)
    b.run(script="document.querySelector('.page.job').scrollTop = 1e6")


def nonsense(b, words):
    b.fill(css="#schedule", value="nonsense")
    b.wait(css=".fault")


def examine(b, words):
    b.click(css=".page .primary")
    b.wait(css=".finding")


def choose(b, words, job):
    b.click(css=f"[id='row-{job}']")


def dialog(button, job=None):
    def show(b, words):
        if job:
            choose(b, words, job)
        b.button(words[button])
        b.wait(css="dialog[open]")
    return show


def fill_badly(b, words):
    dialog("add")(b, words)
    b.fill(css="#guest", value="101")
    b.fill(css="#schedule", value="nonsense")
    b.press(key="Enter")
    b.wait(css=".fault")


def menu(b, words):
    if b.run(script="innerWidth <= 700"):
        b.button(words["resources"])
    else:
        b.click(css=".columns summary")


def failover(b, words):
    choose(b, words, "pve2 __replicate_100-0_1767225600__")
    b.button(words["failover"])
    b.wait(css="dialog .lines")


def confirmed(b, words, force):
    failover(b, words)
    b.fill(css="#failover-typed", value="100")
    if force:
        b.click(css="#failover-force")
    b.button(words["failover_do"])
    b.wait(css="dialog .banner.good" if force else "dialog [role=alert]")


# name: (hash, what is done there)
PAGES = {
    "job": ("#/guest/100/job/100-0", look_at_job),
    "job-run": ("#/guest/100/job/100-0", open_a_run),
    "job-log": ("#/guest/100/job/100-0", look_at_log),
    "job-running": ("#/guest/100/job/100-1", lambda b, words: b.wait(css="progress")),
    "simulator": ("#/datacenter/simulator", lambda b, words: b.wait(css=".events")),
    "simulator-refused": ("#/datacenter/simulator", nonsense),
    "doctor": ("#/node/pve1/doctor", lambda b, words: b.wait(css=".page .primary")),
    "doctor-found": ("#/node/pve1/doctor", examine),
    "datacenter": ("#/datacenter", lambda b, words: None),
    "chosen": ("#/datacenter", lambda b, words: choose(b, words, "101-0")),
    "node": ("#/node/pve1", lambda b, words: None),
    "guest": ("#/guest/100", lambda b, words: None),
    "empty": ("#/guest/300", lambda b, words: None),
    "add": ("#/datacenter", dialog("add")),
    "refused": ("#/datacenter", fill_badly),
    "edit": ("#/node/pve1", dialog("edit", "101-0")),
    "remove": ("#/node/pve1", dialog("remove", "100-0")),
    "log": ("#/node/pve1", dialog("log", "100-0")),
    "menu": ("#/datacenter", menu),
    "risk": ("#/datacenter/risk", lambda b, words: choose(b, words, "101 pve1 101-0")),
    "points": ("#/guest/100/points", lambda b, words: choose(b, words, "pve2 __replicate_100-0_1767225600__")),
    "failover": ("#/guest/100/points", failover),
    "failover-refused": ("#/guest/100/points", lambda b, words: confirmed(b, words, False)),
    "failover-done": ("#/guest/100/points", lambda b, words: confirmed(b, words, True)),
}


def log_in(b, words):
    b.fill(css="#username", value="root")
    b.fill(css="#password", value="secret")
    b.button(words["log_in"])
    b.wait(css=".frame")


def pages(b, url, look, shown, only=None):
    """Each page in one look; shown(name) when it is there."""
    words = WORDS["de" if look.get("locale") == "de-DE" else "en"]
    b.open(url=url, now=panelworld.NOW + 300, **look)
    b.wait(css="#username")
    shown("login")
    log_in(b, words)
    for name, (place, act) in PAGES.items():
        if only and name not in only:
            continue
        b.goto(url=f"{url}/{place}")
        b.reload()
        b.wait(css=".grid, .page, .replication .calm:not([role=status])")
        act(b, words)
        shown(name)


def main(folder):
    os.makedirs(folder, exist_ok=True)
    why = panelbrowser.cannot()
    if why:
        sys.exit(why)
    with tempfile.TemporaryDirectory() as laid, panelbrowser.Browser() as b:
        server = panelworld.serve(panelbrowser.lay_out(laid), 0, panelworld.World())
        for name, look in LOOKS.items():
            pages(b, f"http://127.0.0.1:{server.server_port}", look, lambda page: b.shot(path=os.path.join(folder, f"{page}-{name}.png")))
        server.shutdown()
    print(folder)


if __name__ == "__main__":
    main(sys.argv[1])
