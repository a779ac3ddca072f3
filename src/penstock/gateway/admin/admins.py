"""Who may administer: whoever shows `admin.token`, or a key or token with the scope admin."""

import hmac

from penstock.core.clock import type_of_clock, wall
from penstock.core.errors import Forbidden, Unauthenticated
from penstock.core.tenant import Principal, Scopes, Tenant
from penstock.state.identity.callers import Callers

OPERATOR = Principal(Tenant(key="admin.token"), "admin.token", Scopes(admin=True))


class Admins:
    """The supervisor's door. With neither token nor callers nobody is an administrator."""

    def __init__(self, token: str, callers: Callers | None, clock: type_of_clock = wall) -> None:
        self._token = token.encode()
        self._callers = callers if callers is not None and not callers.open else None
        self._clock = clock

    def admit(self, presented: str) -> Principal:
        """Who showed `presented`, a bearer credential. Raises Unauthenticated, or Forbidden for a key without the
        scope."""
        credential = presented.encode()
        if self._token and hmac.compare_digest(credential, self._token):
            return OPERATOR
        if self._callers is None or not credential:
            raise Unauthenticated(
                "this listener asks for 'authorization: Bearer', with admin.token or an admin key",
                code="invalid_admin_token",
            )
        principal = self._callers.authenticate(b"Bearer " + credential, None, self._clock())
        if not principal.scopes.admin:
            raise Forbidden("this key may not administer; use one with the scope admin", code="admin_not_allowed")
        return principal
