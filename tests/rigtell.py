"""What a cluster of the rig looked like when a test of it failed: its files are gone by the time somebody reads that it did."""
import glob
import os

LINES = 12
WIDTH = 400


def _end_of(path):
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - LINES * WIDTH))
            text = f.read().decode(errors="replace")
    except OSError as e:
        return [str(e)]
    return ["".join(c if c.isprintable() else "?" for c in line)[:WIDTH] for line in text.splitlines()[-LINES:]]


def tell(cluster):
    """Comments of the test's output: the end of each log, the states, the jobs."""
    paths = [os.path.join(cluster.tree, "replication.cfg")]
    for node in cluster.nodes.values():
        paths += [os.path.join(node.dir, "pvesrd.log"), os.path.join(node.state_dir, "pve-replication-state.json"),
                  *sorted(glob.glob(os.path.join(node.log_dir, "*")))]
    for path in filter(os.path.isfile, paths):
        print(f"# {os.path.relpath(path, cluster.dir)}:")
        for line in _end_of(path):
            print(f"#   {line}")
