"""A contract's closed-loop stages for Locust: `locustfile` is what Locust runs, `make` puts a plan into it."""
