"""A gateway that streams audit events to SIEMs: durable before it answers, delivered until they have arrived."""

__version__ = "0.1.0"
