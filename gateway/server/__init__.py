"""The HTTP side: ingest, the management API, and the signals that machines read.

A route is a row of ``routes``: its handler, the scope it needs and the types it decodes and answers with. aiohttp's
routes and the OpenAPI document both come from that table. A handler gets a ``Call`` (who calls, and the parts of the
gateway) and returns a response or raises a fault of ``gateway.errors``; ``problems`` turns faults into answers.
Connections come in through ``listener``: ``front`` serves ingest itself and hands the others to aiohttp.
"""
