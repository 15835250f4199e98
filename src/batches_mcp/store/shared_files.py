"""What is kept in bulk, in an object store, with the local folder as a cache of it.

kept/ACCOUNT/BODY.json.gz           the requests of a create, before it is sent
prepared/ACCOUNT/BODY.json.gz       those of a part of a job, before its create is begun
spool/ACCOUNT/BATCH/index           of results that are complete; names its data, which is there before it
spool/ACCOUNT/BATCH/DATA.jsonl
results/ACCOUNT/NAME                files that were asked for
"""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from batches_mcp.core.errors import StateUnusable
from batches_mcp.core.state import create, unusable
from batches_mcp.store.files import ResultFiles
from batches_mcp.store.index import decode
from batches_mcp.store.kept import Copy, KeptRequests
from batches_mcp.store.objects import Objects
from batches_mcp.store.spool import Spool, index_path, key
from batches_mcp.store.spools import Spools

log = logging.getLogger(__name__)

KEPT, PREPARED, SPOOLS, RESULTS = "kept", "prepared", "spool", "results"
_PACKED = ".json.gz"


@dataclass(frozen=True, slots=True)
class SharedRequests(KeptRequests):
    """The bodies of one account."""

    objects: Objects
    account: str
    below: str = KEPT

    @property
    def place(self) -> str:
        return f"{self.objects.name} below {self.below}/{self.account}"

    def keep(self, copy: Copy) -> io.BufferedReader:
        file = KeptRequests.keep(self, copy)
        try:
            with self.draft() as path:
                self.pack(copy.name, path)
                self.objects.put(self._key(copy.name), path)
        except (OSError, StateUnusable) as error:
            file.close()
            KeptRequests.forget(self, copy.name)
            if isinstance(error, OSError):
                raise unusable(self.folder, error) from error
            raise
        return file

    @contextmanager
    def opened(self, name: str, betas: str) -> Iterator[io.BufferedReader]:
        with ExitStack() as stack:
            try:
                file = stack.enter_context(KeptRequests.opened(self, name, betas))
            except FileNotFoundError:
                self._fetch(name)
                file = stack.enter_context(KeptRequests.opened(self, name, betas))
            yield file

    def compress(self, name: str, stop: threading.Event) -> None:  # noqa: ARG002 - as in a folder
        """The copy in the store is compressed already; the plain one was for sending."""
        KeptRequests.forget(self, name)

    def forget(self, name: str) -> None:
        KeptRequests.forget(self, name)
        self.objects.forget(self._key(name))

    def any_since(self, time_s: float) -> bool:
        return any(written_s > time_s for _, written_s in self.objects.keys(f"{self.below}/{self.account}"))

    def tidy(self, wanted: Collection[str], before_s: float) -> None:
        KeptRequests.tidy(self, wanted, before_s)
        for found, written_s in list(self.objects.keys(f"{self.below}/{self.account}")):
            if written_s < before_s and found.rpartition("/")[2].removesuffix(_PACKED) not in wanted:
                self.objects.forget(found)

    def _fetch(self, name: str) -> None:
        with self.draft() as path:
            if not self.objects.fetch(self._key(name), path):
                raise FileNotFoundError(self._key(name))
            path.replace(self.folder / f"{name}{_PACKED}")

    def _key(self, name: str) -> str:
        return f"{self.below}/{self.account}/{name}{_PACKED}"


@dataclass(frozen=True, slots=True)
class SharedSpools(Spools):
    """The spools of one account. Only complete ones are shared; a store that is gone keeps no results from anybody."""

    objects: Objects
    account: str

    def load(self, batch_id: str) -> Spool | None:
        found = Spools.load(self, batch_id)
        if found is not None and found.complete:
            return found
        try:
            return self._fetched(batch_id) or found
        except StateUnusable as error:
            log.warning("results that another server may have fetched are not looked for: %s", error.report.message)
            return found

    def publish(self, spool: Spool) -> None:
        if not spool.complete:
            return
        place = self._place(spool.head.batch_id)
        data = f"{place}/{spool.head.data}"
        try:
            content = index_path(self.folder, spool.head.batch_id).read_bytes()
            index = decode(content)
            if index is None or index.head.data != spool.head.data:
                return  # another process has written its own, and shares that
            self.objects.put(data, spool.path)
            if not self.objects.put(f"{place}/index", content, new=True):
                self.objects.forget(data)
        except FileNotFoundError:
            return  # it had to make room
        except StateUnusable as error:
            log.warning("other servers have to fetch the results again: %s", error.report.message)

    def forget(self, batch_id: str) -> None:
        Spools.forget(self, batch_id)
        try:
            for found, _ in list(self.objects.keys(self._place(batch_id))):
                self.objects.forget(found)
        except StateUnusable as error:
            log.warning("a copy of results may be left until it is old: %s", error.report.message)

    def _fetched(self, batch_id: str) -> Spool | None:
        """The spool of a batch, brought from the store."""
        place = self._place(batch_id)
        content = self.objects.read(f"{place}/index")
        index = decode(content) if content is not None else None
        if content is None or index is None or index.head.batch_id != batch_id:
            return None
        temporary = self.folder / f"{key(batch_id)}-{token_hex(4)}.part"
        unfinished = temporary.with_suffix(".index-part")
        try:
            if not self.objects.fetch(f"{place}/{index.head.data}", temporary):
                self.objects.forget(f"{place}/index")
                return None
            os.utime(temporary, ns=(index.head.changed_ns, index.head.changed_ns))
            temporary.replace(self.folder / index.head.data)
            with create(unfinished) as file:
                file.write(content)
            unfinished.replace(index_path(self.folder, batch_id))
        except OSError as error:
            log.warning("results that another server has fetched cannot be written to %s: %s", self.folder, error)
            return None
        finally:
            for path in (temporary, unfinished):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return Spools.load(self, batch_id)

    def _place(self, batch_id: str) -> str:
        return f"{SPOOLS}/{self.account}/{key(batch_id)}"


@dataclass(frozen=True, slots=True)
class SharedFiles(ResultFiles):
    """The files of one account."""

    objects: Objects

    def publish(self, path: Path) -> None:
        self.objects.put(f"{RESULTS}/{self.account}/{path.name}", path)

    def find(self, name: str) -> Path | None:
        found = ResultFiles.find(self, name)
        if found is not None:
            return found
        path = self.path(name)
        temporary = path.with_name(f"{name}.{token_hex(4)}.part")
        if not self.objects.fetch(f"{RESULTS}/{self.account}/{name}", temporary):
            return None
        temporary.replace(path)
        return path
