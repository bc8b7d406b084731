"""Destinations and API keys: what is stored of them, where, and who may change it.

- *Store* (``store``, with ``sqlite`` and ``postgres`` behind it) is the only owner of this state. Numbered migrations
  bring an older schema up; a newer one is refused.
- *Catalog* is what the process reads: an immutable view in memory, written through to the store. An outage of the
  store takes away changes, never reads; where the store is another machine's, the last known view is kept in the data
  directory and a start works from it.
- *History* (``history``): figures of deliveries and who changed what, bounded, in the same store and without a promise.
- *Service* and *key service* decide what may be stored. They speak plain members in and structs out, and know no HTTP.
- *Secrets*: credentials are sealed before they reach a store, and opened only into a codec's hands. Of an API key only
  its SHA-256 is stored.
"""
