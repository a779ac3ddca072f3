"""Made-up tenants: a real store behind the real routes, and what they are said to have used."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from penstock.gateway.admin.admins import Admins
from penstock.gateway.admin.state import Costs, Fairness, Limits
from penstock.gateway.admin.tenants import Tenants
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Snapshot, changes
from penstock.state.identity.callers import Callers
from penstock.state.identity.open import open_store

ADMIN = "an-admin-token-of-ours"
TREE = {
    "acme": {
        "limits": ["spend=100/month"],
        "teams": {
            "search": (2.0, ["total_tokens=200k/minute"], ["ci", "ranker", "notebook"]),
            "support": (1.0, [], ["bot"]),
        },
    },
    "globex": {"limits": [], "teams": {"research": (1.0, ["concurrent_requests=8"], ["eval"])}},
    "initech": {"limits": [], "teams": {}},
}


class Tenancy:
    """`parts` are the routes for a server; `fill` puts TREE behind them."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:{folder / 'identity.db'}"
        self.store = open_store(self.url)
        self.directory = Directory()
        self.admins = Admins(ADMIN, Callers((), self.directory))
        self.ids: dict[str, str] = {}
        self.secrets: dict[str, str] = {}

    def parts(self) -> dict[str, Any]:
        return {"admins": self.admins, "more": Tenants(self.store, self.admins, lambda: None).routes()}

    def follow(self) -> None:
        """As the supervisor does, so that keys of the store are let in."""

        async def snapshot() -> Snapshot:
            store = open_store(self.url)
            try:
                return await store.snapshot(0.0)
            finally:
                await store.close()

        with ThreadPoolExecutor(1) as elsewhere:  # a browser's loop may run in this thread
            self.directory.take(changes(Snapshot(-1), elsewhere.submit(asyncio.run, snapshot()).result()))

    def fill(self, url: str) -> None:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {ADMIN}"}) as client:

            def post(path: str, **body: object) -> Any:
                answer = client.post(path, json=body)
                assert answer.status_code == 201, answer.text
                return answer.json()

            def key(name: str, **body: object) -> None:
                made = post("/admin/keys", name=name, **body)
                self.ids[name], self.secrets[name] = made["key"]["id"], made["secret"]

            key("operator", admin=True)
            for org, inside in TREE.items():
                post("/admin/orgs", name=org, limits=inside["limits"])
                for team, (weight, limits, names) in inside["teams"].items():
                    post(f"/admin/orgs/{org}/teams", name=team, weight=weight, limits=limits)
                    for name in names:
                        limited = ["total_tokens=10k/minute", "requests=5/second"] if name == "ci" else []
                        key(name, org=org, team=team, limits=limited)
            key("old", org="acme", team="support")
            client.delete(f"/admin/keys/{self.ids['old']}").raise_for_status()


def limit(level: str, subject: str, measure: str, amounts: tuple[Any, Any, Any], **more: Any) -> dict[str, Any]:
    used, most, held = amounts
    row = {"rule": f"{measure}_rule", "level": level, "subject": subject, "own": True, "measure": measure}
    part = float(used) / float(most)
    rest = {"model": None, "window_s": None, "span": None, "limit": most, "used": used, "held": held, "part": part}
    return row | rest | more


def demo_limits(ids: dict[str, str]) -> Limits:
    return Limits(
        [
            limit("key", ids["ci"], "total_tokens", (10_000, 10_000, 0), window_s=60.0),
            limit("key", ids["ci"], "requests", (2, 5, 1), window_s=1.0),
            limit("team", "acme/search", "total_tokens", (131_072, 200_000, 24_000), window_s=60.0),
            limit("org", "acme", "spend", ("86.402913", "100", "0.25"), span="month"),
            limit("team", "globex/research", "concurrent_requests", (3, 8, 3)),
            limit("all", "", "total_tokens", (1_402_331, 5_000_000, 90_000), window_s=300.0, model="Qwen3-8B"),
        ],
        "",
    )


def demo_costs(ids: dict[str, str]) -> Any:
    """Costs by day, and by whom, that add up to the same."""
    shares = {("acme", "search", "ci"): 0.46, ("acme", "search", "ranker"): 0.24, ("acme", "support", "bot"): 0.18,
              ("globex", "research", "eval"): 0.12}  # fmt: skip

    def row(part: float, cost: float, unpriced: int = 0, last: float = 0.0) -> dict[str, Any]:
        requests = max(1, int(12_400 * part))
        return {
            "currency": "USD", "requests": requests, "input": requests * 812, "cached": requests * 300,
            "output": requests * 164, "reasoning": 0, "unpriced": unpriced, "unknown": 0, "counted": 0,
            "cost": f"{cost:.9f}".rstrip("0").rstrip("."), "last": last,
        }  # fmt: skip

    def costs(by: str, days: int) -> Costs:
        rng = random.Random(5)
        today = datetime.now(UTC)
        now = today.timestamp()
        daily = [max(0.0, 2.4 + 1.6 * rng.random() - 2.2 * (age % 7 in (2, 3))) for age in range(366)][:days]
        total = sum(daily)
        rows: list[dict[str, Any]] = []
        if by == "day":
            for age in reversed(range(days)):
                if age != 11:  # a day on which nobody came
                    name = (today - timedelta(days=age)).date().isoformat()
                    rows.append({"day": name, **row(daily[age] / total, daily[age], unpriced=3 * (age == 4))})
        elif by == "model":
            rows = [{"model": "Qwen3-8B", **row(0.7, total)}, {"model": "SmolLM2-135M-Instruct", **row(0.3, 0, 3720)}]
        else:
            groups = {"org": 1, "team": 2, "key": 3}[by]
            for index, (path, part) in enumerate(shares.items()):
                names = (*path[:2], ids[path[2]])[:groups]
                tenant = dict(zip(("org", "team", "key"), names, strict=False))
                found = [old for old in rows if tenant.items() <= old.items()]
                if found:
                    found[0]["cost"] = f"{float(found[0]['cost']) + total * part:.6f}"
                    found[0]["requests"] += int(12_400 * part)
                else:
                    rows.append(tenant | row(part, total * part, 90 * (index == 3), now - 40 - 90_000 * index))
        return Costs(rows, "")

    return costs


def demo_fairness() -> Fairness:
    rows: list[dict[str, Any]] = [
        {"tenant": "acme/search", "weight": 2.0, "waiting": 14, "wait_p50_s": 0.8, "wait_p95_s": 2.1, "share": 0.48},
        {"tenant": "globex/research", "weight": 1.0, "waiting": 3, "wait_p50_s": 0.7, "wait_p95_s": 1.9, "share": 0.27},
        {"tenant": "acme/support", "weight": 1.0, "waiting": 0, "wait_p50_s": 0.1, "wait_p95_s": 0.32, "share": 0.25},
    ]
    return Fairness(60.0, 0.987, rows)
