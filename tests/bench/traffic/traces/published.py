"""Small files in the published formats, made by tests."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2225670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01+00:00,2399,6
"""
BURSTGPT = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,,1.5,ChatGPT,472,18,490,Conversation log
45,7,20,GPT-4,1087,230,1317,Conversation log
118,,0,ChatGPT,417,0,417,API log
185,7,30,GPT-4,1360,647,2007,Conversation log
"""
BURSTGPT_1 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 48]}
{"timestamp": 3052, "input_length": 1300, "output_length": 26, "hash_ids": [46, 47, 50]}
{"timestamp": 3052, "input_length": 655, "output_length": 9, "hash_ids": [51, 52]}
"""
RECORDS = """{"id":"r2","time":1700000002.5,"path":"/v1/chat/completions","model":"m","key":"k2","input_tokens":20,"output_tokens":5}
{"id":"r1","time":1700000000.0,"path":"/v1/chat/completions","model":"lora","key":"k1","input_tokens":30,"output_tokens":6}
{"id":"r3","time":1700000003.0,"path":"/v1/chat/completions","status":429,"outcome":"rejected"}
"""  # noqa: E501
AUDITED = """{"seq":1,"time":1700000000.1,"kind":"chain","actor":"penstock","what":"begun","fields":{},"prev":"","hash":"x"}
{"seq":2,"time":1700000009.0,"kind":"request","actor":"acme/search/k1","what":"POST /v1/chat/completions","fields":{"record":{"id":"r1","time":1700000001.0,"model":"m","input_tokens":30,"output_tokens":6}},"prev":"x","hash":"y"}
{"seq":3,"time":1700000009.0,"kind":"request","actor":"-","what":"POST /v1/chat/completions","fields":{"record":{"id":"r2","time":1700000002.0,"model":"m","input_tokens":20,"output_tokens":5}},"prev":"y","hash":"z"}
"""  # noqa: E501


def azure(gaps_us: Sequence[int], tokens: Sequence[tuple[int, int]]) -> str:
    """A trace in Azure's format of requests so many microseconds apart."""
    at, lines = datetime(2024, 5, 10, tzinfo=UTC), ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for gap, (given, made) in zip(gaps_us, tokens, strict=True):
        at += timedelta(microseconds=gap)
        lines.append(f"{at:%Y-%m-%d %H:%M:%S.%f}+00:00,{given},{made}")
    return "\n".join(lines)


def mooncake(rows: Sequence[tuple[int, int, int, Sequence[int]]]) -> str:
    """Of (milliseconds, input, output, hash ids)."""
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
