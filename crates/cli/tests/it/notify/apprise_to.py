"""Sends a message to each URL with Apprise, whose requests to any host go to one server."""

import sys
from urllib.parse import urlsplit, urlunsplit

import apprise
import requests

address, *urls = sys.argv[1:]
send = requests.Session.request


def redirected(session, method, url, *arguments, **options):
    parts = urlsplit(url)
    url = urlunsplit(("http", address, parts.path, parts.query, ""))
    return send(session, method, url, *arguments, **options)


requests.Session.request = redirected
for url in urls:
    service = apprise.Apprise()
    known = service.add(url)
    sent = known and service.notify(title="a title", body="a text")
    print(url.split(":")[0], bool(sent))
