"""``make bench``: run scenarios; write tables, JSON and pictures into ``benchmarks/results``."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from benchmarks import peers, pictures, report
from benchmarks.scenarios import FULL, QUICK, SCENARIOS

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    options = _options()
    if options.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:18} {scenario.__doc__}")
        for name, peer in peers.PEERS.items():
            print(f"--peer {name:11} {'found' if peer.found() else 'not on this machine'}")
        return
    size = QUICK if options.quick else FULL
    scenarios: dict[str, list[report.Row]] = {}
    for name in options.scenario or ([] if options.peer else SCENARIOS):
        scenarios[name] = SCENARIOS[name](size)
        report.show(name, scenarios[name])
    for name in options.peer or []:
        title = f"beside {name}"
        scenarios[title] = peers.compare(name, size, rounds=options.rounds)
        report.show(title, scenarios[title])
    run = report.Run(report.now(), report.describe_machine(), scenarios)
    folder = RESULTS / run.at
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2))
    (folder / "run.md").write_text(report.markdown(run))
    pictures.draw(run, folder)
    print(f"kept in {folder}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the scenarios and the peers, and which are found")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="this one only; may be given again")
    parser.add_argument("--peer", action="append", choices=peers.PEERS, help="compare with it, in turns")
    parser.add_argument("--rounds", type=int, default=2, help="turns of a comparison")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    return parser.parse_args()


if __name__ == "__main__":
    main()
