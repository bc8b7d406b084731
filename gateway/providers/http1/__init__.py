"""A client for HTTP/1.1, with as much of it as one destination needs.

Every event that comes alone is a request of its own, so what a request costs the event loop is what delivery costs. A
connection here is the loop's protocol itself, one request after another, with llhttp (``httptools``) to read answers.

- ``head`` writes the request line and the headers; ``connection`` is one exchange at a time on one socket; ``pool``
  keeps what can be used again; ``dial`` makes new connections, where the guard of ``egress`` stands; ``cookies`` brings
  a load balancer's cookies back.
- A request goes out once: what becomes of it on a lost connection is for the caller to decide.
- A connection is used again only after an answer that was read to its end, by a server that keeps it open, to a
  request that was sent to its end; over TLS, where that cannot be told, not after one that refuses a body. Bytes that
  come unasked close it.
- What a server can make us hold is bounded: the head of an answer, everything beside the bytes of its body, and the
  body at the request's own bound.
- Time is limited by timers of the loop, one for each request and one for all idle connections.
- Faults are ``WireFault``, ``OSError`` and, from uvloop, ``RuntimeError``; ``gateway.providers.faults`` explains them.
"""
