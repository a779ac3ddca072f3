"""What `penstock up` prints when the API is ready: the addresses, and two ways to call it."""

import json
import shlex


def base_url(api_url: str) -> str:
    """The API's base URL as clients write it, with `/v1`."""
    url = api_url.rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"


def text(api_url: str, admin_url: str, models: list[str], *, keys: bool) -> str:
    """The banner. `keys` tells whether the API asks for one; no key is printed."""
    base = base_url(api_url)
    model = models[0] if models else "MODEL"
    access = "asks for an API key" if keys else "open to this machine, without a key; set auth.keys to ask for one"
    lines = [
        "Penstock is ready.",
        "",
        f"  API      {base}  ({access})",
        f"  Console  {admin_url}",
        f"  Models   {', '.join(models) if models else 'none known yet; see the console'}",
        "",
        curl(base, model, keys=keys),
        "",
        python(base, model, keys=keys),
        "",
        "Ctrl-C stops it. In another terminal: penstock chat",
    ]
    return "\n".join(lines)


def curl(base: str, model: str, *, keys: bool) -> str:
    """One line for a shell that streams an answer."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Say hello."}]}
    key = '-H "authorization: Bearer $PENSTOCK_API_KEY" ' if keys else ""
    return (
        f"curl -N {shlex.quote(base + '/chat/completions')} -H 'content-type: application/json' {key}"
        f"-d {shlex.quote(json.dumps(body))}"
    )


def python(base: str, model: str, *, keys: bool) -> str:
    """A program for the `openai` package that streams an answer."""
    key = 'os.environ["PENSTOCK_API_KEY"]' if keys else '"none"'
    head = "import os\n\nfrom openai import OpenAI\n" if keys else "from openai import OpenAI\n"
    return (
        f"{head}\n"
        f"client = OpenAI(base_url={json.dumps(base)}, api_key={key})\n"
        f'messages = [{{"role": "user", "content": "Say hello."}}]\n'
        f"for chunk in client.chat.completions.create(model={json.dumps(model)}, messages=messages, stream=True):\n"
        f'    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)'
    )
