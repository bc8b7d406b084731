"""Measure the gateway on the machine at hand, alone and beside its peers: ``make bench``.

One process is measured at a time: the gateway, or a peer that is configured to do the same. Producers and a receiver
run beside it on loopback, in processes of their own, and are measured against each other first (scenario
``headroom``), so that the figures say whether they could have been the bottleneck. What is printed are measurements,
never assertions: machines differ and are noisy, so compare ratios of one run. Needs Linux (epoll and ``/proc``).
"""
