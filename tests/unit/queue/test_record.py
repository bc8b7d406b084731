from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import record

SEED = 0x1234


def frame(payload: bytes = b'{"id":"evt_1"}', name: str = "tenant-ä") -> bytes:
    return b"".join(
        record.encode(
            seed=SEED,
            kind=record.Kind.EVENTS,
            subject=Subject(SubjectKind.TENANT, name),
            payload=payload,
            first_offset=7,
            sequence=3,
            stream_sequence=5,
            events=2,
            time_us=1_782_822_896_789_000,
            synced_end=4096,
        )
    )


@given(st.binary(max_size=300), st.text(max_size=30))
def test_what_is_encoded_is_decoded(payload: bytes, name: str) -> None:
    """Header, subject and payload come back as they went in, and frames end on multiples of eight."""
    raw = frame(payload, name)
    header = record.decode_header(raw, 0, SEED)
    assert header is not None
    body = raw[record.HEADER_BYTES : record.HEADER_BYTES + header.body_bytes]
    assert record.checksum(body) == header.body_crc
    assert record.subject_of(header, body) == Subject(SubjectKind.TENANT, name)
    assert body[header.name_bytes :] == payload
    assert len(raw) == header.frame_bytes
    assert len(raw) % 8 == 0
    assert (header.first_offset, header.sequence, header.stream_sequence, header.events) == (7, 3, 5, 2)


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    """No single-bit error in a header passes for a header."""
    raw = frame()
    for bit in range(record.HEADER_BYTES * 8):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        assert record.decode_header(bytes(damaged), 0, SEED) is None, bit


def test_every_flipped_bit_of_a_body_is_noticed() -> None:
    """The body's checksum, kept in the header, covers the subject and the payload."""
    raw = frame()
    header = record.decode_header(raw, 0, SEED)
    assert header is not None
    for bit in range(header.body_bytes * 8):
        body = bytearray(raw[record.HEADER_BYTES : record.HEADER_BYTES + header.body_bytes])
        body[bit // 8] ^= 1 << bit % 8
        assert record.checksum(bytes(body)) != header.body_crc


def test_a_frame_of_another_file_is_not_taken() -> None:
    """The same bytes under another file's seed are no frame."""
    assert record.decode_header(frame(), 0, SEED + 1) is None


@given(st.binary(max_size=200))
def test_rubbish_is_no_frame(data: bytes) -> None:
    """Reading a header from any bytes answers None and never raises."""
    assert record.decode_header(data, 0, SEED) is None
    assert record.decode_header(record.MAGIC + data, 0, SEED) is None


def test_the_largest_body_that_is_taken_fits_a_frame_that_is_read_back() -> None:
    """A frame over the bound of readers would be acknowledged and never found again (``ingest.body_max`` once allowed
    a GiB).
    """
    raw = frame(bytes(32 << 20))
    header = record.decode_header(raw, 0, SEED)
    assert header is not None
    assert header.payload_bytes == 32 << 20
