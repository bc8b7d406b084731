"""The command line. ``main`` is the console script.

Exit codes: 0 done; 1 it did not work (the gateway refused, something was rejected, a test failed); 2 the command line
or the configuration is wrong, or the gateway could not start because its port or its data directory is taken.
"""

from __future__ import annotations


def main() -> None:
    from gateway.cli.program import program  # noqa: PLC0415 - importing this package does nothing but define

    program(prog_name="gateway")
