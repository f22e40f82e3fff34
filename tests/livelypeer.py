#!/usr/bin/env python3
"""An agent that says that it lives, and nothing else from its answer number N on: livelypeer.py N COMMAND…

The frames up to there are the real agent's, whose command this is.
"""
import struct
import subprocess
import sys
import time

ALIVE = bytes.fromhex("0000000009000000b9a7cb3b59a72bd8")


def frame(stream):
    head = stream.read(16)
    return head + stream.read(struct.unpack_from("<I", head)[0])


def main():
    real = subprocess.Popen(sys.argv[2:], stdin=0, stdout=subprocess.PIPE)
    try:
        for _ in range(int(sys.argv[1])):
            sys.stdout.buffer.write(frame(real.stdout))
            sys.stdout.buffer.flush()
        while True:
            sys.stdout.buffer.write(ALIVE)
            sys.stdout.buffer.flush()
            time.sleep(0.01)  # it does not hurry
    except BrokenPipeError:
        sys.stderr.close()
    finally:
        real.kill()


if __name__ == "__main__":
    main()
