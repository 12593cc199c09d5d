"""A whole account as bytes, and back: moto's backends and what our own services keep beside them.

What is meant is an account right after an apply. Sessions of roles stay behind: they belong to the processes
that took them. So do S3's access logs, which name the callers of this stack. Neither jobs nor
endpoints are kept, which live in processes; an account that has some is refused.

The bytes are a pickle, which runs code of its writer. So only bytes that this checkout has written may be
read; `mlops_local.base.snapshots` sees to that.
"""

from __future__ import annotations

import io
import marshal
import pickle  # see above
import threading
import types
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from mlops_local.base.places import Places

if TYPE_CHECKING:
    from moto.core.base_backend import BackendDict

# Sessions, whose keys nobody else may have.
_LEFT_OUT = ("sts",)
_LOCKS: dict[type, Any] = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}
# Every backend's own; a service that keeps more has it beside them, as S3 has the owners of buckets.
_PLAIN = {"backend", "service_name", "_use_boto3_regions", "_additional_regions", "_id"}


class Service(Protocol):
    """A service of our own that keeps something."""

    def keep(self) -> Any:
        """What `restore` takes, of values that can be pickled.

        Raises:
            AccountError: when it has what cannot be kept.
        """

    def restore(self, kept: Any) -> None:
        """Have what was kept, in the place of what there is."""


class AccountError(Exception):
    """An account that cannot be written, or bytes that are none."""


class Traffic:
    """The requests under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request, from its arrival to its answer."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    @contextmanager
    def still(self, seconds: float) -> Iterator[None]:
        """A moment between two requests: those that arrive now wait for its end.

        Raises:
            AccountError: when there is no such moment within so many seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._under_way == 0, seconds):
                raise AccountError(f"{self._under_way} requests were under way for {seconds:.0f} s")
            yield


def write(services: Mapping[str, Service], places: Places) -> bytes:
    """The account, with marks for the places of this stack.

    Raises:
        AccountError: when it has what cannot be kept, or names a place where no mark can stand.
    """
    from moto.core.base_backend import BackendDict

    backends: list[BackendDict[Any]] = list(BackendDict._instances)  # type: ignore[misc]  # pylint: disable=protected-access
    content = {
        "moto": [
            (
                _name(one),
                {account: dict(regions) for account, regions in one.items()},
                {key: value for key, value in vars(one).items() if key not in _PLAIN},
            )
            for one in backends
            if one.service_name not in _LEFT_OUT
        ],
        "ours": {name: service.keep() for name, service in services.items()},
    }
    file = io.BytesIO()
    try:
        _Writer(file, places).dump(content)
        _Reader(io.BytesIO(file.getvalue()), places).load()
    except Exception as error:  # whatever a class of moto's raises
        raise AccountError(f"moto's state cannot be written: {error!r}") from error
    written = file.getvalue()
    if places.named(written.decode("latin-1")):
        raise AccountError("an address of the stack is where no mark can stand")
    return written


def read(content: bytes, services: Mapping[str, Service], places: Places) -> None:
    """Have the account that was written, in the place of the one there is; all of it or nothing.

    Raises:
        AccountError: when the bytes are none, or of another moto.
    """
    try:
        found = _Reader(io.BytesIO(content), places).load()
    except Exception as error:  # whatever a pickle's classes raise
        raise AccountError(f"moto's state cannot be read: {error!r}") from error
    for name, accounts, more in found["moto"]:
        backends = _backends(name)
        vars(backends).update(more)
        for account, regions in accounts.items():
            backends[account].update(regions)
    for name, service in services.items():
        service.restore(found["ours"][name])


class _Writer(pickle.Pickler):
    """Marks places, and writes what pickle alone cannot: locks, keys, weak references and lambdas."""

    def __init__(self, file: io.BytesIO, places: Places) -> None:
        super().__init__(file, protocol=5)
        self._places = places
        self._access_logs = _access_logs()

    def persistent_id(self, obj: Any) -> Any:
        """What stands for a value that depends on the process or the stack."""
        from moto.core.base_backend import AccountSpecificBackend, BackendDict

        if type(obj) is str:  # pylint: disable=unidiomatic-typecheck  # an Enum's member stays one
            marked = self._places.mark(obj)
            return None if marked is obj else ("text", marked)
        if isinstance(obj, BackendDict):
            return ("service", _name(obj))
        if isinstance(obj, AccountSpecificBackend):
            return ("account", (obj.backend.__module__, obj.service_name), obj.account_id)
        return None

    def reducer_override(self, obj: Any) -> Any:
        """How to make a value anew."""
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from moto.s3.utils import _VersionedKeyStore

        how: Any = NotImplemented  # pickle's own way
        if type(obj) in _LOCKS:
            how = _LOCKS[type(obj)], ()
        elif isinstance(obj, (RSAPrivateKey, EllipticCurvePrivateKey)):  # of KMS
            how = _private_key, (_encoded(obj),)
        elif isinstance(obj, _VersionedKeyStore):
            left_out = self._access_logs.get(id(obj), ())
            lists = {name: obj.getlist(name) for name in list(obj) if not name.startswith(left_out)}
            how = type(obj), (), lists, None, None, _set_versions
        elif isinstance(obj, defaultdict) and hasattr(obj, "__dict__"):
            # moto's are not made with the arguments that pickle expects
            state = (vars(obj), {"default_factory": obj.default_factory})
            how = _bare, (type(obj),), state, None, iter(list(obj.items()))
        elif isinstance(obj, weakref.WeakValueDictionary):
            how = weakref.WeakValueDictionary, (), None, None, iter(list(obj.items()))
        elif isinstance(obj, types.FunctionType) and "<locals>" in obj.__qualname__:
            if obj.__closure__:
                raise pickle.PicklingError(f"{obj.__qualname__} has a closure")
            how = _function, (marshal.dumps(obj.__code__), obj.__module__)
        return how


class _Reader(pickle.Unpickler):
    """Reads what `_Writer` wrote."""

    def __init__(self, file: io.BytesIO, places: Places) -> None:
        super().__init__(file)
        self._places = places

    def persistent_load(self, pid: Any) -> Any:
        """The value in this process and stack."""
        kind, *rest = pid
        if kind == "text":
            return self._places.fill(rest[0])
        backends = _backends(rest[0])
        return backends if kind == "service" else backends[rest[1]]


def _access_logs() -> dict[int, tuple[str, ...]]:
    """The prefixes of S3's access logs, by the store of each bucket that has some."""
    from moto.s3.models import s3_backends

    found: dict[int, tuple[str, ...]] = {}
    for _, _, backend in s3_backends.iter_backends():
        for bucket in backend.buckets.values():  # type: ignore[attr-defined]
            target = backend.buckets.get((bucket.logging or {}).get("TargetBucket", ""))  # type: ignore[attr-defined]
            if target is not None:
                known = found.get(id(target.keys), ())
                found[id(target.keys)] = (*known, bucket.logging.get("TargetPrefix", ""))
    return found


def _set_versions(store: Any, lists: dict[str, list[Any]]) -> None:
    """Have all versions of objects: moto's own way of reading them back keeps the newest of each."""
    for name, versions in lists.items():
        store.setlist(name, versions)


def _bare(kind: Any) -> Any:
    return kind.__new__(kind)


def _encoded(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    encoded: bytes = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded


def _private_key(encoded: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    return load_der_private_key(encoded, None)


def _function(code: bytes, module: str) -> types.FunctionType:
    """A lambda of one of moto's modules."""
    return types.FunctionType(marshal.loads(code), vars(import_module(module)))  # noqa: S302  # see above


def _name(backends: BackendDict[Any]) -> tuple[str, str]:
    """The module of a service's backends, and the service."""
    return backends.backend.__module__, backends.service_name


def _backends(name: tuple[str, str]) -> BackendDict[Any]:
    from moto.core.base_backend import BackendDict

    module, service = name
    for value in vars(import_module(module)).values():
        if isinstance(value, BackendDict) and value.service_name == service:
            return value
    raise AccountError(f"this moto has no {service}")
