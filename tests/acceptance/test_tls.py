"""The gateway with a certificate of its own, as producers, the command line and an operator see it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import sys
from pathlib import Path

from tests.acceptance.audit_events import events
from tests.acceptance.gateway_process import OPERATOR_KEY, ROOT, GatewayProcess
from tests.certificates import Certificate, make_certificate


async def certificate(folder: Path, *names: str) -> Certificate:
    await asyncio.to_thread(folder.mkdir)
    return await asyncio.to_thread(make_certificate, folder, *names)


async def command(*arguments: str, **variables: str) -> tuple[int | None, str]:
    """The exit code and what was printed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        cwd=ROOT,
        env=others | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def test_tls_from_start_to_reload(tmp_path: Path) -> None:
    """Events come in over TLS from who shows a certificate; the command line shows one too; a new certificate is taken
    up at SIGHUP while an old connection goes on; the process never stops.
    """
    server, clients = await certificate(tmp_path / "server", "127.0.0.1"), await certificate(tmp_path / "c", "producer")
    chain = str(server.chain_file)
    gateway = GatewayProcess(
        tmp_path / "data", server_tls_certificate=chain, server_tls_key=chain, server_tls_client_ca=str(clients.ca_file)
    )
    gateway.tls = ssl.create_default_context(cafile=str(server.ca_file))
    gateway.tls.load_cert_chain(clients.chain_file)
    async with gateway:
        assert gateway.address.startswith("https://127.0.0.1:")
        await gateway.api.accept(events(10))
        known = {"GATEWAY_URL": gateway.address, "GATEWAY_API_KEY": OPERATOR_KEY}
        shown = {"GATEWAY_CA_FILE": str(server.ca_file), "GATEWAY_CLIENT_CERTIFICATE": str(clients.chain_file)}
        code, printed = await command("status", **known, **shown)
        assert (code, printed.splitlines()[0]) == (0, "The gateway is ready.")
        code, printed = await command("status", **known)
        assert (code, printed.count("\n")) == (1, 1)
        assert "Set GATEWAY_CA_FILE" in printed
        renewed = await certificate(tmp_path / "renewed", "127.0.0.1")
        await asyncio.to_thread(shutil.copy, renewed.chain_file, server.chain_file)
        gateway.send(signal.SIGHUP)
        async with asyncio.timeout(30):
            while "tls.reloaded" not in gateway.log:
                await asyncio.sleep(0.02)
        await gateway.api.accept(events(10))
        assert (await command("status", **known, **shown))[0] == 1
        assert (await command("status", **known, **(shown | {"GATEWAY_CA_FILE": str(renewed.ca_file)})))[0] == 0
