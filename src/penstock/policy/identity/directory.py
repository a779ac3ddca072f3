"""Keys by id, in memory: what a worker authenticates with.

The only comparison of anything secret is `hmac.compare_digest` over two SHA-256 digests of 32 bytes, made twice for
every well-formed key, known or not, rotated or not. What a client may learn from time or from the answer is that its
key has the wrong form; whether an id exists is told only to who shows its secret.

No cache stands in front: one digest costs less than a microsecond, a cache would hold keys in clear, and a key that is
revoked would live on in it.
"""

from hashlib import sha256
from hmac import compare_digest

from penstock.core.errors import Unauthenticated
from penstock.core.tenant import Principal, Tenant
from penstock.policy.identity.key import ID_CHARS, LENGTH, NO_DIGEST, PREFIX
from penstock.policy.identity.resolve import Changes, Entry, Group, Snapshot

ID_ENDS = len(PREFIX) + ID_CHARS
NOBODY = Entry("", NO_DIGEST, Principal(Tenant()), revoked=True)
"""Stands for every id that is not there, so that an unknown id is the same work as a known one."""
UNKNOWN_KEY = "The API key is not known here."


class Directory:
    """The keys and groups of one version of the store."""

    __slots__ = ("_entries", "_groups", "version")

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self.version = -1
        """Of the store; -1 before anything was taken in."""
        if snapshot is not None:
            self.take(Changes(snapshot.version, snapshot.entries, groups=snapshot.groups))

    def take(self, changes: Changes) -> None:
        """Follows the store."""
        for key_id in changes.gone:
            self._entries.pop(key_id.encode(), None)
        for entry in changes.entries:
            self._entries[entry.id.encode()] = entry
        if changes.groups is not None:
            self._groups = {(group.org, group.team): group for group in changes.groups}
        self.version = changes.version

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key_id: str) -> Principal | None:
        """Who a key id stands for, without proof: for showing, never for letting in."""
        entry = self._entries.get(key_id.encode())
        return None if entry is None else entry.principal

    def group(self, org: str, team: str) -> Group | None:
        """What holds for an organisation (empty `team`) or a team of it."""
        return self._groups.get((org, team))

    def authenticate(self, presented: bytes, now: float) -> Principal:
        """Whose key this is, at the wall clock's `now`. Raises Unauthenticated: invalid_api_key, key_expired or
        key_revoked, the last two only to who showed the right secret."""
        if len(presented) != LENGTH or not presented.startswith(PREFIX) or presented[ID_ENDS] != 0x2D:
            raise Unauthenticated(UNKNOWN_KEY)
        entry = self._entries.get(presented[len(PREFIX) : ID_ENDS], NOBODY)
        found = sha256(presented[ID_ENDS + 1 :]).digest()
        current = compare_digest(found, entry.digest)
        former = compare_digest(found, entry.previous)
        if not (current or former):
            raise Unauthenticated(UNKNOWN_KEY)
        principal = entry.principal
        if entry.revoked:
            raise Unauthenticated("The API key was revoked; ask for another.", code="key_revoked")
        if principal.expires and now >= principal.expires:
            raise Unauthenticated("The API key has expired; ask for another.", code="key_expired")
        if not current and now >= entry.previous_until:
            raise Unauthenticated("The API key was replaced by a newer one; use that.", code="key_expired")
        return principal
