"""The comparer of directory trees: everything that can be seen of each name, and each difference by its own name.

    here, there = treefacts.tree(a), treefacts.tree(b)
    for line in treefacts.differences(here, there): …        # "b'etc/x': xattr user.one: b'1' became None"

Not looked at: the time of the last change of status, which nobody can set; the time of the last access, which looking changes; the time of
birth; whether the file system compresses a file (chattr +c, +m: it sets them itself, by the property that is looked at); how the blocks of a file lie on the disk, but that holes stay holes (too_large).
"""
import array
import fcntl
import hashlib
import os
import stat
import struct

BLOCK = 1 << 16
ZEROES = bytes(BLOCK)
OWN_ATTRIBUTE = "trusted.pvesr.owner"  # of a live replica's root; a container cannot see it
GET_FLAGS, SET_FLAGS, GET_EXTRA = 0x80086601, 0x40086602, 0x801c581f
FLAGS = {"secure": 1, "undelete": 2, "sync": 8, "immutable": 0x10, "append": 0x20, "nodump": 0x40, "noatime": 0x80,
         "dirsync": 0x10000, "nocow": 0x800000, "inherit": 0x20000000}
BARS = FLAGS["immutable"] | FLAGS["append"]  # what keeps root from changing a file


def digest(path):
    """Of the content; a hole is as good as zeroes, and read faster."""
    h = hashlib.sha256()  # processors know it
    with open(path, "rb", buffering=0) as f:
        end, at = os.fstat(f.fileno()).st_size, 0
        while at < end:
            try:
                at = f.seek(at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                break  # a hole up to the end
            stop = min(end, max(f.seek(at, os.SEEK_HOLE), at + BLOCK))
            f.seek(at)
            while at < stop:
                block = f.read(BLOCK)
                if block != ZEROES[:len(block)]:
                    h.update(b"%d:" % at)
                    h.update(block)
                at += BLOCK
    return h.hexdigest()


def opened(path):
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOATIME)


def ask(fd, what, answer):
    try:
        fcntl.ioctl(fd, what, answer)
        return True
    except OSError:
        return False


def open_facts(path):
    """The flags (0: the file system has none) and the project of a file or a folder."""
    fd, flags, extra = opened(path), array.array("l", [0]), bytearray(28)
    try:
        have_flags, have_extra = ask(fd, GET_FLAGS, flags), ask(fd, GET_EXTRA, extra)
        return flags[0] if have_flags else 0, struct.unpack_from("IIII", extra)[3] if have_extra else 0
    finally:
        os.close(fd)


def get_flags(path):
    mode = os.lstat(path).st_mode
    return open_facts(path)[0] if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else 0


def set_flags(path, flags):
    """OSError where the file system has no such flag."""
    fd = opened(path)
    try:
        fcntl.ioctl(fd, SET_FLAGS, array.array("l", [flags]))
    finally:
        os.close(fd)


def named(flags, project):
    return sorted(name for name, bit in FLAGS.items() if flags & bit), project


def or_why(look, path):
    """What is damaged is a difference, and no end of the comparison."""
    try:
        return look(path)
    except OSError as e:
        return e.strerror


def content_facts(path, st):
    kind = stat.S_IFMT(st.st_mode)
    if kind == stat.S_IFLNK:
        return {"leads to": or_why(os.readlink, path)}
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return {"device": (os.major(st.st_rdev), os.minor(st.st_rdev))}
    if kind == stat.S_IFREG:
        return {"size": st.st_size, "content": or_why(digest, path)}
    return {}


def facts_of(path):
    st = os.lstat(path)
    facts = {"type": stat.S_IFMT(st.st_mode), "mode": oct(stat.S_IMODE(st.st_mode)), "user": st.st_uid, "group": st.st_gid,
             "mtime": st.st_mtime_ns, **content_facts(path, st)}
    if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        facts["flags, project"] = or_why(lambda p: named(*open_facts(p)), path)
    try:
        for name in os.listxattr(path, follow_symlinks=False):
            if name != OWN_ATTRIBUTE:
                facts[f"xattr {name}"] = or_why(lambda p, n=name: os.getxattr(p, n, follow_symlinks=False), path)
    except OSError as e:
        facts["xattrs"] = e.strerror
    return st, facts


def names_below(root, folder=b""):
    with os.scandir(root + folder) as entries:
        for entry in entries:
            name = folder[1:] + b"/" + entry.name if folder else entry.name
            yield name
            if entry.is_dir(follow_symlinks=False):
                yield from names_below(root, b"/" + name)


def tree(root):
    """{name below root: {what is looked at: value}}, root itself being b"."; hard links are told by the first of their names."""
    root, found, links = os.fsencode(root), {}, {}
    for name in [b".", *sorted(names_below(root))]:
        st, facts = facts_of(root + b"/" + name)
        if not stat.S_ISDIR(st.st_mode):
            facts["same file as"] = links.setdefault(st.st_ino, name)
            facts["names"] = st.st_nlink
        found[name] = facts
    return found


def short(value):
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:40]}…{text[-60:]}({len(text)})"


def differences(here, there, limit=5):
    bad = [f"{short(name)} is only {side}" for names, side in ((here.keys() - there.keys(), "here"), (there.keys() - here.keys(), "there")) for name in names]
    for name in here.keys() & there.keys():
        a, b = here[name], there[name]
        bad += [f"{short(name)}: {what}: {short(a.get(what))} became {short(b.get(what))}" for what in sorted(a.keys() | b.keys()) if a.get(what) != b.get(what)]
    return sorted(bad)[:limit]


def too_large(here, there, slack=1 << 20, limit=5):
    """Files below `there` that take much more room than their data below `here` does: their holes were filled."""
    bad = []
    for folder, _, files in os.walk(os.fsencode(here)):
        for name in files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if not stat.S_ISREG(st.st_mode) or st.st_size <= slack:
                continue
            there_st = os.lstat(os.path.join(os.fsencode(there), os.path.relpath(path, os.fsencode(here))))
            if there_st.st_blocks * 512 > max(st.st_blocks * 512, mapped(path)) + slack:
                bad.append(f"{name!r} of {st.st_size} bytes: {st.st_blocks * 512} became {there_st.st_blocks * 512} on the disk")
    return bad[:limit]


def mapped(path):
    """Bytes that are no hole."""
    total, at = 0, 0
    with open(path, "rb", buffering=0) as f:
        end = os.fstat(f.fileno()).st_size
        while at < end:
            try:
                at = f.seek(at, os.SEEK_DATA)
                stop = f.seek(at, os.SEEK_HOLE)
            except OSError:
                break
            total, at = total + stop - at, stop
    return total
