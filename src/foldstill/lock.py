"""One writer per folder: a lock file names the process that works there and shows that it is alive."""

import fcntl
import json
import math
import os
import shutil
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from foldstill.errors import FileError, FoldstillWarning
from foldstill.files import file_error, is_part
from foldstill.workers import arrays_shared_in, remove_shared_memory

LOCK = ".lock"
SHARED = ".shared-arrays"
BEAT_S = 15.0
"""Seconds between two signs of life of a writer: its lock file gets the current time."""
SILENT_S = 120.0
"""Seconds without a sign of life after which a writer on another machine counts as dead."""

RETRY_S = 0.1

_held: dict[Path, int] = {}
"""The folders that this process has locked, each with the thread that did."""
_replaced: set[tuple[str, int]] = set()
"""Hosts and numbers of the dead writers in whose place this process is: one message is enough for all their folders."""


@dataclass(frozen=True)
class Writer:
    """The process that a lock file names."""

    host: str
    pid: int
    since: float
    """Seconds since 1970."""
    parent: int = 0
    """The process that started it, of which it may be a worker."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


class _BusyError(FileError):
    """Somebody writes into the folder: who that is, and the cure."""

    def __init__(self, who: str, cure: str) -> None:
        super().__init__(f"{who}: {cure}")
        self.who = who


@contextmanager
def sole_writer(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing into a folder while the block runs; a missing folder is made.

    Temporary files that a killed writer left are removed first. The kernel releases the lock of a process that is
    killed, so its folder can be written again at once. On another machine, or on a disk that does not support such
    locks, a writer counts as dead when its last sign of life is older than `SILENT_S`. The thread that holds the lock
    can take it again. Large arrays for the processes of this one are kept in the folder.

    While another process or thread writes into the folder, raises FileError, which names the writer. With `wait`, one
    warning names it, and the block begins when it has ended.
    """
    place = folder.resolve()
    if _held.get(place) == threading.get_ident():
        yield
        return
    with locked(folder, patience_s=math.inf if wait else 0.0), arrays_shared_in(place / SHARED):
        yield


@contextmanager
def locked(folder: Path, *, patience_s: float = 0.0) -> Iterator[None]:
    """The lock of `sole_writer` alone, as the folder of one job has it inside the folder of a run.

    Raises FileError when another writer goes on for `patience_s`; infinite patience begins with a warning.
    """
    place = folder.resolve()
    new = [each for each in (place, *place.parents) if not each.exists()]
    try:
        lock = _acquire_patiently(place, folder, patience_s)
    except OSError as error:
        raise file_error(error, folder) from error
    _held[place] = threading.get_ident()
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(lock, over), daemon=True)
    beat.start()
    try:
        _remove_parts(place)
        yield
    finally:
        over.set()
        beat.join()
        del _held[place]
        # A process that has opened the file meanwhile sees that it is gone, and makes a new one.
        with suppress(OSError):
            (place / LOCK).unlink()
        os.close(lock)
        with suppress(OSError):  # a folder that holds anything stays
            for each in new:
                each.rmdir()


def _acquire_patiently(place: Path, folder: Path, patience_s: float) -> int:
    """`_acquire`, tried until it succeeds or the patience is over."""
    end, is_said = time.monotonic() + patience_s, patience_s < math.inf
    while True:
        try:
            return _acquire(place, folder)
        except _BusyError as busy:
            if time.monotonic() >= end:
                raise
            if not is_said:
                warnings.warn(f"{busy.who}: waiting until it ends", FoldstillWarning, stacklevel=5)
                is_said = True
            time.sleep(RETRY_S)


def _acquire(place: Path, folder: Path) -> int:
    """Descriptor of the lock file, which is locked and names this process."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        try:
            lock, is_new = _open(place / LOCK)
        except FileNotFoundError:
            continue  # another process has just removed it, or the folder
        try:
            if _take(lock, is_new, place / LOCK, folder):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _open(path: Path) -> tuple[int, bool]:
    """Descriptor of the lock file, and whether this process made the file."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, os.O_RDWR), False


def _take(lock: int, is_new: bool, path: Path, folder: Path) -> bool:
    """Lock the file for this process; False if another one took or removed it meanwhile.

    Raises FileError if the process that it names is alive.
    """
    granted = _kernel_lock(lock)
    if not (path.exists() and os.path.samestat(os.fstat(lock), path.stat())) or (is_new and granted is False):
        return False
    before = _read(lock)
    if not is_new and _is_alive(before, granted, silent_s := time.time() - os.fstat(lock).st_mtime):
        cure = "wait until it ends, or end it"
        if granted is not False:
            cure += f"; its last sign of life is {silent_s:.0f} s old, and after {SILENT_S:.0f} s it counts as dead"
        raise _BusyError(f"{folder} is being written by {before or 'another process'}", cure)
    if before is not None:
        if _replaced.isdisjoint({(before.host, before.pid), (before.host, before.parent)}):
            message = f"{folder}: {before}, ended before it was done: going on from what it left"
            warnings.warn(message, FoldstillWarning, stacklevel=6)
        _replaced.add((before.host, before.pid))
        _free_memory(before)
    os.ftruncate(lock, 0)
    writer = Writer(socket.gethostname(), os.getpid(), time.time(), os.getppid())
    os.pwrite(lock, json.dumps(asdict(writer)).encode(), 0)
    return True


def remove_dead(folder: Path) -> None:
    """Remove a folder whose writer is dead, and what the writer left in memory."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        writer = None
    else:
        writer = _read(lock)
        os.close(lock)
    if writer is not None:
        _free_memory(writer)
    shutil.rmtree(folder, ignore_errors=True)


def _free_memory(dead: Writer) -> None:
    """Remove what a dead writer and the process that started it left in the shared memory of this machine."""
    if dead.host == socket.gethostname():
        remove_shared_memory(dead.pid)
        remove_shared_memory(dead.parent)


def require_unlocked(folder: Path, *, patience_s: float = 0.0) -> None:
    """Raises FileError, which names the writer, while a process writes into the folder and goes on for `patience_s`."""
    end = time.monotonic() + patience_s
    while is_locked(folder):
        if time.monotonic() >= end:
            with locked(folder):  # the process may have ended just now
                return
        time.sleep(RETRY_S)


def is_locked(folder: Path) -> bool:
    """Whether a process that is alive writes into the folder."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return _is_alive(_read(lock), _kernel_lock(lock), time.time() - os.fstat(lock).st_mtime)
    finally:
        os.close(lock)


def _is_alive(writer: Writer | None, granted: bool | None, silent_s: float) -> bool:
    """Whether the process that a lock file names is alive, by the kernel's answer or else by its last sign of life."""
    if granted and (writer is None or writer.host == socket.gethostname()):
        return False
    return granted is False or silent_s < SILENT_S


def _kernel_lock(lock: int) -> bool | None:
    """Whether this process got the kernel's lock of the file; None where the disk does not support such locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _read(lock: int) -> Writer | None:
    """The process that the lock file names; None for a file that was cut."""
    try:
        return Writer(**json.loads(os.pread(lock, 1000, 0)))
    except (ValueError, TypeError):
        return None


def _beat(lock: int, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        os.utime(lock)


def _remove_parts(place: Path) -> None:
    """Remove temporary files of `atomic_write` in a folder, except below folders that other processes have locked."""
    for root, folders, files in os.walk(place):
        if LOCK in files and Path(root) != place:
            folders.clear()
            continue
        for name in files:
            if is_part(name):
                (Path(root) / name).unlink(missing_ok=True)
