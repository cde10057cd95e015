"""Files from the internet: fetched once, resumed where a connection broke, checked, and kept in a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests

from kapps.errors import OutputError, WeightsError

try:
    import fcntl
except ImportError:  # Windows has no flock: two fetches of one file at once are then not kept apart
    fcntl = None  # type: ignore[assignment]

MAX_BYTES = 2**32  # larger than the weights of any network here
_CHUNK = 2**16  # what a broken connection costs at most
_TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_RETRY_AFTER = (1.0, 4.0, 10.0)  # seconds

Progress = Callable[[int, int | None], None]


def cache_dir() -> Path:
    """Where downloads are kept: `$KAPPS_CACHE`, else `$XDG_CACHE_HOME/kapps`, else `~/.cache/kapps`."""
    if own := os.environ.get("KAPPS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kapps"


def fetch(
    url: str,
    *,
    checksum: str = "",
    folder: Path | None = None,
    progress: Progress | None = None,
    retry_after: tuple[float, ...] = _RETRY_AFTER,
) -> Path:
    """A file of the internet on this machine's disk.

    Args:
        url: http or https.
        checksum: `"sha256:<hex>"` or `"md5:<hex>"`; the first digits are enough, as some publishers give no more. What
            is in the cache already is checked, too. "" = what the server states, if it does (the Hugging Face hub).
        folder: where to keep it; None = the cache.
        progress: called with (bytes so far, bytes in all or None).
        retry_after: seconds to wait before each new attempt.

    Returns:
        The file's path.

    Raises:
        WeightsError: the server does not give the file, or it is not the expected one.
        OutputError: the cache cannot be written.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WeightsError(f"{url}: expected an address that begins with https://")
    name = re.sub(r"[^\w.-]", "_", parts.path.rpartition("/")[2]) or "file"
    place = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = (folder or cache_dir() / "weights") / place / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent):
            if target.exists():
                if _matches(target, checksum):
                    return target
                target.unlink()  # damaged since, or the publisher's file has changed
            partial = target.with_name(name + ".part")
            stated = _fetch(url, partial, progress, retry_after)
            checksum = checksum or stated
            if not _matches(partial, checksum):
                found = _digest(partial, checksum)
                partial.unlink()
                raise WeightsError(
                    f"{url}: expected a file with {checksum}, got {found}: try again, or tell whoever runs this mirror"
                )
            os.replace(partial, target)
    except OSError as error:
        if isinstance(error, WeightsError | requests.RequestException):
            raise
        raise OutputError(
            f"{target.parent} cannot be written ({error.strerror or error}): make room, or set KAPPS_CACHE to another "
            "folder"
        ) from error
    return target


def _fetch(url: str, partial: Path, progress: Progress | None, retry_after: tuple[float, ...]) -> str:
    """Get the rest of the file, however often the connection breaks; returns the checksum that the server states."""
    attempts = iter((*retry_after, None))
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            return _continue(url, partial, before, progress)
        except _GoneError as error:
            raise WeightsError(f"{url}: {error}: check the address and the connection") from None
        except (requests.RequestException, _BrokenError) as error:
            wait = next(attempts)
            if wait is None:
                reason = " ".join(str(error).split())[:150]
                raise WeightsError(
                    f"{url}: could not be fetched ({reason}): check the connection, then again"
                ) from None
            time.sleep(wait)


class _GoneError(Exception):
    """An answer that no repetition changes."""


class _BrokenError(Exception):
    """The connection ended before the file did."""


def _continue(url: str, partial: Path, have: int, progress: Progress | None) -> str:
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing is left to send, or the file became shorter
            if answer.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return _stated(answer)
            partial.unlink()
            raise _BrokenError("the file has changed")
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise _BrokenError(f"the server answered {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise _GoneError(f"the server answered {answer.status_code} {answer.reason}")
        if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _GoneError("the server sent another part than asked for")
        if answer.status_code == 200:  # the server does not resume: from the start
            have = 0
        announced = answer.headers.get("Content-Length")
        total = have + int(announced) if announced and announced.isdigit() else None
        if total is not None and total > MAX_BYTES:
            raise _GoneError(f"refused, {total} bytes are more than any weights have")
        with partial.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                if have > MAX_BYTES:
                    raise _GoneError("refused, the file does not end")
                if progress is not None:
                    progress(have, total)
        if total is not None and have < total:
            raise _BrokenError(f"{have} of {total} bytes came")
        return _stated(answer)


def _stated(answer: requests.Response) -> str:
    """The sha256 that the Hugging Face hub gives with the redirection to a large file; "" from other servers."""
    for each in (*answer.history, answer):
        if re.fullmatch(r"[0-9a-f]{64}", digest := each.headers.get("X-Linked-Etag", "").strip('"')):
            return f"sha256:{digest}"
    return ""


def _matches(path: Path, checksum: str) -> bool:
    return not checksum or _digest(path, checksum).startswith(checksum)


def _digest(path: Path, checksum: str) -> str:
    kind = checksum.partition(":")[0]
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: two that need the same file must not write into each other's part."""
    with tempfile.TemporaryFile() if fcntl is None else (folder / ".lock").open("w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
