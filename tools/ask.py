#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a running server one thing, and shows the answer as it comes, with its times.

    ask.py [--base-url http://127.0.0.1:8000] [--wait SECONDS --pid PID] [--max-tokens N] QUESTION

--wait: first wait until the server answers GET /health; give up when the process PID has ended. Standard library only.
"""

import argparse
import http.client
import json
import os
import sys
import time
from urllib.parse import urlsplit


def connect(base_url, timeout):
    parts = urlsplit(base_url)
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:  # a process that has ended and was not waited for is a zombie
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def wait_until_ready(base_url, seconds, pid):
    deadline = time.monotonic() + seconds
    while True:
        connection = connect(base_url, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        if pid is not None and not is_running(pid):
            raise RuntimeError("the server has ended")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server is not ready after {seconds:g} s")
        time.sleep(0.05)


def events(response):
    """The JSON objects of a stream of server-sent events, up to [DONE]."""
    for line in response:
        if not line.startswith(b"data: "):
            continue  # comments that keep the connection open, and empty lines
        data = line[6:].strip()
        if data == b"[DONE]":
            return
        yield json.loads(data)
    raise RuntimeError("the stream ended before it was done")


def ask(base_url, question, max_tokens):
    """Prints the answer piece by piece. Returns (seconds to the first token, seconds in all, usage)."""
    body = {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = connect(base_url, timeout=600)
    begin = time.monotonic()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"HTTP {response.status}: {response.read().decode(errors='replace')}")
    first = None
    usage = None
    for event in events(response):
        if "error" in event:
            raise RuntimeError(event["error"].get("message", str(event["error"])))
        usage = event.get("usage") or usage
        for choice in event.get("choices", []):
            text = choice.get("delta", {}).get("content")
            if text:
                first = first or time.monotonic() - begin
                print(text, end="", flush=True)
    print(flush=True)
    if first is None or usage is None:
        raise RuntimeError("the answer was empty")
    return first, time.monotonic() - begin, usage


def main():
    parser = argparse.ArgumentParser(description="Asks a running server one thing.")
    parser.add_argument("question")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--max-tokens", type=int, default=100)
    args = parser.parse_args()
    try:
        if args.wait > 0:
            wait_until_ready(args.base_url, args.wait, args.pid)
        print(f"\n> {args.question}\n", flush=True)
        first, total, usage = ask(args.base_url, args.question, args.max_tokens)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    tokens = usage["completion_tokens"]
    rate = (tokens - 1) / (total - first) if tokens > 1 and total > first else 0
    print(f"\ntime to first token: {first * 1000:.0f} ms for a prompt of {usage['prompt_tokens']} tokens, "
          f"then {tokens} tokens, {rate:.1f} tokens/s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
