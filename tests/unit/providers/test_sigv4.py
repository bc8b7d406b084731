from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.codec import Batch, Context
from gateway.providers.sigv4 import SigningKey, sign_post
from tests.provider_cases import CHANNEL, EVENT, codec, headers, signed

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MOMENT = datetime(2026, 6, 30, 12, 35, tzinfo=UTC)
HEADERS = (("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "Logs_20140328.PutLogEvents"))
KEY = SigningKey("AKIDEXAMPLE", SECRET, "us-east-1", "logs")


def test_vector_of_put_log_events() -> None:
    """Body, its digest and the signature are those that were worked out by hand and with botocore."""
    context = Context(now_s=MOMENT.timestamp(), channel=CHANNEL, instance="gw")
    made = codec("cloudwatch", {"log_stream": "gw-01"})
    request = signed(made, made.encode(Batch([EVENT]), context).requests[0], context)
    assert len(request.body) == 561
    assert (
        hashlib.sha256(request.body).hexdigest() == "b0eb7ecdd4658b165ce87d22ded279d6779e7241c57d94b94d58ad097ea24b5e"
    )
    assert request.url == "https://logs.us-east-1.amazonaws.com/"
    assert headers(request) == {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "Logs_20140328.PutLogEvents",
        "x-amz-date": "20260630T123500Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260630/us-east-1/logs/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
        "Signature=9146d61a4213c6dfe0fd9a4df1dc01dc7f2146be931e39371a604d7e13ace9fb",
    }
    assert not request.gzip


def botocore_authorization(host: str, region: str, body: bytes) -> str:
    request = AWSRequest("POST", f"https://{host}/", headers=dict(HEADERS), data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=MOMENT.replace(tzinfo=None)):
        SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "logs", region).add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize(
    "host", ["logs.eu-west-1.amazonaws.com", "127.0.0.1:5000", "vpce-1.logs.eu-west-1.vpce.amazonaws.com"]
)
@given(body=st.binary(max_size=300), region=st.sampled_from(["us-east-1", "cn-north-1", "us-gov-west-1"]))
def test_agrees_with_botocore(host: str, body: bytes, region: str) -> None:
    """Any body and any host, with a port or without, is signed as botocore signs it."""
    key = SigningKey("AKIDEXAMPLE", SECRET, region, "logs")
    signed = dict(sign_post(key, host, HEADERS, body, MOMENT.timestamp()))
    assert signed["Authorization"] == botocore_authorization(host, region, body)


def test_the_key_does_not_show_itself() -> None:
    """Its repr holds no part of the credentials."""
    assert "AKID" not in repr(KEY)
    assert SECRET not in repr(KEY)
