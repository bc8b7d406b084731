"""The door of the gateway: every connection is accepted here, and ``POST /v1/audit/events`` is served here.

Most producers send one event at a time, and a web framework costs them more than everything else that is done for
them. So the way of a small request is nearly a straight line: cut the head off, look it up among those seen before,
check the event with all others of this turn of the loop, hand them to the group commit, write the answer. A request
that is not small, or in which anything is out of the ordinary, goes through ``gateway.server.ingest`` as those of the
framework do. A connection that asks for anything else is handed to aiohttp, with the bytes that have come so far, and
stays there.

- ``head`` reads a request's head; ``framing`` and ``body`` its body. Plain functions and states over bytes.
- ``turn`` is what came in one turn of the loop and can be checked and stored together.
- ``connection`` is one connection: order of the answers, what is held, what has to wait, when it is given up.
- ``front`` is all of them: how many there may be, who must go, and the stop.
- ``wire`` is an answer as bytes.

What it promises: answers in the order of the requests; a bound on what each connection and all together hold; a time
for everything that a client may take; for what is no proper HTTP a 400 and the end of the connection, so that no two
readers of the same bytes can differ on where a request ends.
"""
