"""Asks each URL every 100 ms, over a new connection, and says how it went."""

import sys
import time

import requests

while True:
    for url in sys.argv[1:]:
        try:
            requests.get(url, timeout=5).raise_for_status()
            print(url, "ok", flush=True)
        except requests.RequestException as error:
            print(url, "failed:", error, flush=True)
    time.sleep(0.1)
