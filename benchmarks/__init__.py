"""Measure the gateway on the machine at hand: ``make bench``.

One gateway process, one receiver process, one producer process, all on loopback. The producer and the receiver are
measured against each other first, so that the figures say whether they could have been the bottleneck. What is
printed are measurements, never assertions: machines differ and are noisy, so compare ratios of one run.
"""
