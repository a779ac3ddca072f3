"""What every store of tenants and keys keeps, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from penstock.core.errors import BadRequest, Conflict, NotFound, RequestError, Unauthenticated
from penstock.core.limit import Level, Measure
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.key import SECRET_CHARS
from penstock.state.identity.fields import KeyFields, OrgFields, TeamFields
from penstock.state.identity.store import LONGEST_OVERLAP_S, Issued, Store

NOW = 1_000_000.0
DAY = 86_400.0
HOSTILE = (
    "'; DROP TABLE identity_key; --",
    '" OR 1=1 --',
    "x' OR 'a'='a",
    "a\0b",
    "?",
    "%s",
    "%(x)s",
    "é" * 100,
    "../..",
)


async def let_in(store: Store, issued: Issued, now: float = NOW) -> str:
    """The code of the refusal; empty when the key is right."""
    try:
        Directory(await store.snapshot(now)).authenticate(issued.secret.reveal().encode(), now)
    except Unauthenticated as error:
        return error.code
    return ""


@pytest.mark.anyio
class StoreContract:
    """Subclasses give the fixture `again`: a function that opens the same, at first empty, store once more."""

    @pytest.fixture
    async def store(self, again: Callable[[], Store]) -> AsyncIterator[Store]:
        opened = again()
        yield opened
        await opened.close()

    async def test_a_tree_is_kept_and_found_again(self, store: Store, again: Callable[[], Store]) -> None:
        await store.create_org("acme", OrgFields(models=("llama-*",), limits=("spend=5/day",)), NOW)
        await store.create_team("acme", "search", TeamFields(weight=2.0, priority=1), NOW)
        issued = await store.create_key("acme", "search", KeyFields(name="ci", limits=("requests=9/second",)), NOW)
        other = again()
        assert await other.org("acme") == await store.org("acme")
        assert await other.team("acme", "search") == await store.team("acme", "search")
        assert await other.key(issued.key.id) == issued.key
        found = Directory(await other.snapshot(NOW)).authenticate(issued.secret.reveal().encode(), NOW)
        await other.close()
        assert (found.tenant.org, found.tenant.team, found.tenant.key) == ("acme", "search", issued.key.id)
        assert (found.name, found.weight, found.priority, found.scopes.models) == ("ci", 2.0, 1, ("llama-*",))
        assert [(rule.level, rule.measure) for rule in found.rules] == [
            (Level.ORG, Measure.SPEND),
            (Level.KEY, Measure.REQUESTS),
        ]

    async def test_the_version_grows_with_every_write_and_no_read(self, store: Store) -> None:
        versions = [await store.version()]

        async def grew() -> None:
            versions.append(await store.version())
            assert versions[-1] > versions[-2]
            assert (await store.snapshot(NOW)).version == versions[-1]

        await store.create_org("acme", OrgFields(), NOW)
        await grew()
        await store.change_org("acme", OrgFields(limits=("requests=1/minute",)))
        await grew()
        await store.create_team("acme", "a", TeamFields(), NOW)
        await grew()
        await store.change_team("acme", "a", TeamFields(weight=3.0))
        await grew()
        key = (await store.create_key("acme", "a", KeyFields(), NOW)).key
        await grew()
        await store.change_key(key.id, KeyFields(name="x"), NOW)
        await grew()
        await store.rotate_key(key.id, 0.0, NOW)
        await grew()
        await store.revoke_key(key.id, NOW)
        await grew()
        await store.delete_team("acme", "a", NOW)
        await grew()
        await store.delete_org("acme", NOW)
        await grew()
        await store.orgs(10)
        await store.keys(10)
        assert await store.version() == versions[-1]

    async def test_a_refused_write_changes_nothing(self, store: Store) -> None:
        await store.create_org("acme", OrgFields(), NOW)
        before = await store.snapshot(NOW)
        for refused in (
            store.create_org("acme", OrgFields(), NOW),
            store.create_team("nobody", "a", TeamFields(), NOW),
            store.create_team("acme", "a/b", TeamFields(), NOW),
            store.change_org("acme", OrgFields(limits=("tokens=5",))),
            store.create_key("acme", "nobody", KeyFields(), NOW),
            store.create_key("", "search", KeyFields(), NOW),
            store.create_key("acme", "", KeyFields(admin=True), NOW),
            store.rotate_key("nobody", 0.0, NOW),
        ):
            with pytest.raises(RequestError):
                await refused
        assert await store.snapshot(NOW) == before

    async def test_fields_that_are_left_out_stay(self, store: Store) -> None:
        await store.create_org(
            "acme", OrgFields(models=("a", "b*"), endpoints=("/v1/x/",), limits=("spend=1/day",)), NOW
        )
        changed = await store.change_org("acme", OrgFields(limits=()))
        assert (changed.scopes.models, changed.scopes.endpoints, changed.rules) == (("a", "b*"), ("/v1/x",), ())
        await store.create_team("acme", "t", TeamFields(weight=4.0), NOW)
        issued = await store.create_key("acme", "t", KeyFields(weight=1.5, expires=NOW + DAY), NOW)
        assert (await store.change_key(issued.key.id, KeyFields(name="n"), NOW)).weight == 1.5
        cleared = await store.change_key(issued.key.id, KeyFields(weight=None, expires=0.0), NOW)
        assert (cleared.weight, cleared.expires, cleared.name) == (None, 0.0, "n")

    async def test_rotation_overlaps(self, store: Store) -> None:
        first = await store.create_key("", "", KeyFields(), NOW)
        second = await store.rotate_key(first.key.id, 60.0, NOW)
        assert second.key.id == first.key.id
        assert [await let_in(store, first), await let_in(store, second)] == ["", ""]
        assert [await let_in(store, first, NOW + 60), await let_in(store, second, NOW + 60)] == ["key_expired", ""]
        third = await store.rotate_key(first.key.id, 60.0, NOW + 1)
        assert [await let_in(store, each, NOW + 2) for each in (first, second, third)] == ["invalid_api_key", "", ""]
        fourth = await store.rotate_key(first.key.id, 0.0, NOW + 2)
        assert [await let_in(store, each, NOW + 2) for each in (third, fourth)] == ["key_expired", ""]
        for overlap in (-1.0, LONGEST_OVERLAP_S + 1, float("nan")):
            with pytest.raises(BadRequest, match="overlap"):
                await store.rotate_key(first.key.id, overlap, NOW)

    async def test_revoking_is_for_good_and_ends_an_overlap(self, store: Store) -> None:
        first = await store.create_key("", "", KeyFields(), NOW)
        second = await store.rotate_key(first.key.id, DAY, NOW)
        revoked = await store.revoke_key(first.key.id, NOW + 1)
        assert await store.revoke_key(first.key.id, NOW + 9) == revoked
        assert [await let_in(store, first), await let_in(store, second)] == ["invalid_api_key", "key_revoked"]
        for refused in (store.rotate_key(first.key.id, 0.0, NOW), store.change_key(first.key.id, KeyFields(), NOW)):
            with pytest.raises(Conflict, match="for good"):
                await refused

    async def test_deleting_ends_everything_below(self, store: Store) -> None:
        await store.create_org("acme", OrgFields(), NOW)
        for team in ("a", "b"):
            await store.create_team("acme", team, TeamFields(), NOW)
        keys = [await store.create_key("acme", team, KeyFields(), NOW) for team in ("a", "b", "")]
        await store.delete_team("acme", "a", NOW)
        assert [await let_in(store, key) for key in keys] == ["key_revoked", "", ""]
        await store.delete_org("acme", NOW)
        assert [await let_in(store, key) for key in keys] == ["key_revoked"] * 3
        assert all(key.revoked for key in await store.keys(10))
        assert all(team.deleted for team in await store.teams("acme", 10))
        for refused in (
            store.create_key("acme", "", KeyFields(), NOW),
            store.create_team("acme", "c", TeamFields(), NOW),
            store.change_org("acme", OrgFields()),
        ):
            with pytest.raises(NotFound, match="was deleted"):
                await refused
        with pytest.raises(Conflict, match="or was"):
            await store.create_org("acme", OrgFields(), NOW)

    async def test_pages(self, store: Store) -> None:
        for name in ("b", "a", "c"):
            await store.create_org(name, OrgFields(), NOW)
        assert [org.name for org in await store.orgs(2)] == ["a", "b"]
        assert [org.name for org in await store.orgs(2, "b")] == ["c"]
        made = {(await store.create_key(org, "", KeyFields(), NOW)).key.id for org in ("a", "a", "", "b")}
        first = await store.keys(3)
        rest = await store.keys(3, first[-1].id)
        assert {key.id for key in (*first, *rest)} == made
        assert len(await store.keys(9, org="a")) == 2
        assert len(await store.keys(9, org="")) == 1
        assert not await store.keys(9, org="a", team="x")

    async def test_the_first_admin_key_is_made_once_while_it_works(
        self, store: Store, again: Callable[[], Store]
    ) -> None:
        others = [again() for _ in range(4)]
        made = [
            issued for issued in await asyncio.gather(*(s.first_admin_key(NOW) for s in (store, *others))) if issued
        ]
        assert len(made) == 1
        principal = Directory(await store.snapshot(NOW)).authenticate(made[0].secret.reveal().encode(), NOW)
        assert principal.scopes.admin
        assert await store.first_admin_key(NOW) is None
        await store.revoke_key(made[0].key.id, NOW)
        assert await store.first_admin_key(NOW) is not None
        for other in others:
            await other.close()

    async def test_writers_do_not_overwrite_each_other(self, store: Store, again: Callable[[], Store]) -> None:
        others = [again() for _ in range(4)]
        await store.create_org("acme", OrgFields(), NOW)
        begun = await store.version()
        await asyncio.gather(
            *(each.create_key("acme", "", KeyFields(name=str(n)), NOW) for n in range(5) for each in others),
            *(each.change_org("acme", OrgFields(models=(f"m{n}",))) for n, each in enumerate(others)),
        )
        assert len(await store.keys(100)) == 20
        assert await store.version() == begun + 24
        for other in others:
            await other.close()

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_text_never_becomes_a_statement(self, store: Store, text: str) -> None:
        await store.create_org("acme", OrgFields(), NOW)
        issued = await store.create_key("acme", "", KeyFields(), NOW)
        for asked in (store.org(text), store.key(text), store.team("acme", text), store.team(text, "a")):
            with pytest.raises(RequestError):
                await asked
        for refused in (
            store.create_org(text, OrgFields(), NOW),
            store.create_team("acme", text, TeamFields(), NOW),
            store.create_key(text, "", KeyFields(), NOW),
            store.revoke_key(text, NOW),
        ):
            with pytest.raises(RequestError):
                await refused
        if "\0" not in text:
            assert not await store.keys(10, org=text)
            assert not await store.keys(10, text if text > "z" else "zzz")
        if text.isprintable() and len(text) < 100:
            assert (await store.change_key(issued.key.id, KeyFields(name=text), NOW)).name == text
        assert len(await store.keys(10)) == 1
        assert await let_in(store, issued) == ""

    async def test_secrets_are_random_and_nowhere_kept(self, store: Store) -> None:
        issued = [await store.create_key("", "", KeyFields(), NOW) for _ in range(20)]
        secrets = {each.secret.reveal().rpartition("-")[2] for each in issued}
        assert len(secrets) == len({each.key.id for each in issued}) == 20
        assert {len(secret) for secret in secrets} == {SECRET_CHARS}
        kept = repr([await store.snapshot(NOW), await store.keys(100), issued])
        assert not [secret for secret in secrets if secret in kept]
