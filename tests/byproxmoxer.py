"""byproxmoxer.py HOST PORT USER [TOKEN]: what proxmoxer's users do with the jobs of guest 100, by Debian's python3-proxmoxer as it is.
The password, or the token's secret, is read from stdin."""
import sys
import time
import warnings

import proxmoxer

warnings.filterwarnings("ignore", message="Unverified HTTPS request")


def wait_for(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come")
        time.sleep(0.05)


def main():
    host, port, user, *token = sys.argv[1:]
    secret = sys.stdin.read()
    how = {"token_name": token[0], "token_value": secret} if token else {"password": secret}
    proxmox = proxmoxer.ProxmoxAPI(host, port=int(port), user=user, verify_ssl=False, timeout=60, **how)
    jobs, job = proxmox.cluster.replication, proxmox.cluster.replication("100-0")
    on_node = proxmox.nodes("pve1").replication("100-0")

    def last_sync():
        return on_node.status.get()["last_sync"]
    assert proxmox.version.get()["release"]
    jobs.post(id="100-0", target="pve2", type="local", schedule="*/30", comment="by proxmoxer")
    found, = jobs.get()
    assert found["comment"] == "by proxmoxer" and found["source"] == "pve1", found
    wait_for(lambda: last_sync() > 0, "the first run")
    job.put(rate=9, delete="comment")
    assert job.get()["rate"] == 9 and "comment" not in job.get(), job.get()
    wait_for(lambda: "pid" not in on_node.status.get(), "the end of the first run")
    before = last_sync()
    wait_for(lambda: time.time() > before + 1, "another second")
    on_node.schedule_now.post()
    try:
        wait_for(lambda: last_sync() > before, "the second run")
    except TimeoutError as e:
        raise TimeoutError(f"{e}: {before} {on_node.status.get()} {on_node.log.get(limit=0)}") from e
    log = on_node.log.get(limit=0)
    assert log[0]["n"] == 1 and "start replication job" in log[0]["t"], log
    job.delete()
    wait_for(lambda: jobs.get() == [], "the removal")


main()
