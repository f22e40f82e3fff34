"""Is every command that changes a pool or a volume group told at debug level? What was executed is seen by strace, not believed."""
import ast
import os
import re
import shlex

LOOKING = {
    "zfs": ("list", "get", "send", "holds", "version"),
    "zpool": ("list", "get", "status"),
    "dmsetup": ("status", "table", "info", "ls", "targets"),
}
CHANGING = re.compile(r"zfs|zpool|dmsetup|(lv|vg)(?!s$|display$|scan$)[a-z]+|pv(create|change|remove|resize|move)")


def changes(argv):
    program = os.path.basename(argv[0])
    return bool(CHANGING.fullmatch(program)) and not (len(argv) > 1 and argv[1] in LOOKING.get(program, ()))


def traced(w, job):
    """A run of the job on pve1, both of its sides on this machine: (what it said, the commands that were executed)."""
    trace = os.path.join(w.c.dir, "executed")
    done = w.a.pvesr("run", "--id", job, env={"PVESR_DEBUG": "1"},
                     prefix=["strace", "--seccomp-bpf", "-f", "-qq", "-v", "-s", "4096", "-e", "trace=execve", "-o", trace])
    assert done.returncode == 0, done.stderr
    with open(trace) as f:
        lists = re.findall(r'execve\("[^"]*", (\[.*?"\]), .*\) = 0', f.read())
    return done.stderr, [ast.literal_eval(argv) for argv in lists]


def run(w, job="100-0"):
    """A run of the job on pve1: (what it said, what changes something was executed, what of that was not told)."""
    said, all_of_them = traced(w, job)
    told = [shlex.split(line) for line in re.findall(r"(?m)^debug: (?:\w+: )?\+ (.*)", said)]
    did = list(filter(changes, all_of_them))
    return said, did, [argv for argv in did if argv not in told]
