"""Who a caller is and what it may do: keys, the tree of tenants resolved for look-ups, scopes. Pure."""
