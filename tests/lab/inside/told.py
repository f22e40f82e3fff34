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


def executed(trace):
    with open(trace) as f:
        lists = re.findall(r'execve\("[^"]*", (\[.*?"\]), .*\) = 0', f.read())
    return [argv for argv in map(ast.literal_eval, lists) if changes(argv)]


def run(w, job="100-0"):
    """A run of the job on pve1, both of its sides on this machine: (what it said, what was executed, what of that was not told)."""
    trace = os.path.join(w.c.dir, "executed")
    done = w.a.pvesr("run", "--id", job, env={"PVESR_DEBUG": "1"},
                     prefix=["strace", "--seccomp-bpf", "-f", "-qq", "-v", "-s", "4096", "-e", "trace=execve", "-o", trace])
    assert done.returncode == 0, done.stderr
    told = [shlex.split(line) for line in re.findall(r"(?m)^debug: (?:\w+: )?\+ (.*)", done.stderr)]
    did = executed(trace)
    return done.stderr, did, [argv for argv in did if argv not in told]
