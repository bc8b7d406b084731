"""Providers: how events reach a Splunk, a Datadog, a CloudWatch, an Elasticsearch or a webhook.

A provider is one row of ``PROVIDERS``: the form that its destinations fill in, what an endpoint must look like, and
the codec that turns events into requests and answers into outcomes (``gateway.providers.codec`` has the promises).
A new provider is a codec, its cases in the tests, and a row here.

What all codecs keep to:

- The bytes of an event stand in the envelope as they came in. The exceptions are Datadog's (its module says why): keys
  that Datadog would misread are renamed, the date of a late event among them; values and order stay.
- What could mean a wrong setting never costs an event: 401, 403, 404 and their like are ``Misconfigured``, which keeps
  everything.
- An event is refused for good only where the provider names it, or where it was alone in its request.
- An answer that cannot be read is never taken for a success where the provider's success has a body to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.providers.cloudwatch import CLOUDWATCH
from gateway.providers.codec import Provider
from gateway.providers.datadog import DATADOG
from gateway.providers.elastic import ELASTIC
from gateway.providers.splunk import SPLUNK
from gateway.providers.tls import with_tls
from gateway.providers.webhook import WEBHOOK

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {provider.name: with_tls(provider) for provider in (SPLUNK, DATADOG, CLOUDWATCH, ELASTIC, WEBHOOK)}
)
