"""The embedded write-ahead log: ``EventQueue`` on the files of one data directory.

What is on disk::

    LOCK                           held with flock for life
    META                           log id and format version, written once; lost: made anew from the other headers
    log/<first offset>-<id>.seg    segments: a header block, then frames; zeros behind them until they are written
    log/<first offset>-<id>.idx    what a sealed segment holds of each subject; lost or damaged: made anew by a scan
    log/spare-<id>.tmp             the next segment, filled with zeros ahead of use
    cursors/<generation>.journal   checkpoints of all consumers, appended; the newest two generations are kept
    dead-letters/<consumer>.log    events that a provider refused for good, and which of them are being replayed
    damaged/<file>@<byte>          copies of damaged bytes, for an operator

An event's *offset* is its number in the log; its *sequence* is its number within its subject. Both never go back. A
frame names both, so that a reader knows what it skipped and, when a frame is lost to damage, how many of its own
events were in it.

*Commit* (one thread, one batch at a time): write the frames, fdatasync, read one byte back, then make them visible and
answer all who wait. The byte is read because a file system that shuts down may let a sync succeed and lose the data.

*Assumptions about the disk*: bytes outside a written range stay as they are; nothing is durable before its fsync, no
name before its directory's; unsynced writes may survive in any part and order. A sync that failed is never repeated
on the same file: the file is given up for writing and the batch goes into a new one.

*What a crash leaves*:

- before the sync of a batch: a torn tail. It is cut at the next start; nobody was told that it is stored.
- after the sync, before the answer: events that are delivered though their producer has no answer.
- between making a segment and giving it its name: a ``.tmp`` file, removed at the next start.
- between a settlement and its checkpoint: that settlement is forgotten with its counters; the events come again.
- between a checkpoint and the removal of a segment: a segment that nobody needs, removed at the next start.
- between storing a dead letter and its checkpoint: a letter that settles its event by itself at the next start.
- within a replay of dead letters: what was to be replayed stands beside the letters, and what of it came into the log,
  as the start finds it, is a dead letter no more.

*What damage costs* (bytes that are not what was written, wherever and whatever they are): the events in them, which
each consumer books as a gap from the numbers of the frames around, exactly as many as there were; nothing of another
frame, since header and body have checksums of their own and headers of files are kept twice; in checkpoints no event
but deliveries that come again. Damage below what was proven durable is never taken for a torn tail. The one case that
nothing can tell apart is the last commit before a crash, if no checkpoint came after it.

A process appends only to segments and journals that it made itself, so a start never depends on how the last one ended.
"""
